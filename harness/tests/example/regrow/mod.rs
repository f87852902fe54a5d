//! Whether a guest reads zeros from returned blocks.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use harness::experiments::common::lab::Lab;
use harness::experiments::common::params::{Parameters, text};
use harness::experiments::experiment::{Experiment, Needs};
use lab::testbed::{ResizeOptions, Shape, fill};
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, Mark};
use results::manifest::Manifest;
use results::row::Row;
use results::store::RunFolder;
use results::table::Table;
use results::verdict::{Measured, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vssd_host::size::ByteSize;
use workloads::command::Enforce;
use workloads::{Command, Pick, Report, command};

const PATIENCE: Duration = Duration::from_secs(60);

/// Parameters as in `defaults.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    #[serde(with = "text")]
    size: ByteSize,
    shrink_percent: Vec<u32>,
}

impl Parameters for Params {
    fn check(&self) -> Result<()> {
        for percent in &self.shrink_percent {
            ensure!(
                (1..=100).contains(percent),
                "`shrink_percent` has {percent}: choose 1 to 100"
            );
        }
        Ok(())
    }
}

/// One row for each shrink and the grow that takes it back.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RegrowRow {
    /// Blocks that the guest gave up and got back.
    pub shrunk_blocks: u32,
    /// Blocks that carry what was written before the shrink.
    pub intact_blocks: u32,
    /// Blocks that read as zeros.
    pub zero_blocks: u32,
    /// Blocks that failed, or read as something else.
    pub bad_blocks: u32,
}

impl Row for RegrowRow {
    const FILE: &'static str = "regrow.csv";
}

pub(crate) struct Regrow;

impl Experiment for Regrow {
    const NAME: &'static str = "regrow";
    const PURPOSE: &'static str = "whether returned blocks read as zeros, all others as before";
    const DEFAULTS: &'static str = include_str!("defaults.toml");
    const NEEDS: Needs = Needs::Guest;

    type Params = Params;
    type Rows = (Vec<RegrowRow>,);

    fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        let shape = Shape {
            size: params.size,
            block_size: ByteSize(4096),
            written: params.size,
        };
        let options = ResizeOptions {
            pick: Pick::Guest,
            deadline: PATIENCE,
            seed: lab.seed,
        };
        let verify = Command::Verify(command::Verify {
            enforce: Enforce::Driver,
        });
        let mut testbed = lab.testbed(shape, folder)?;
        let capacity = testbed.capacity();
        for percent in &params.shrink_percent {
            fill(&mut *testbed, lab.seed)?;
            let shrunk_blocks = capacity / 100 * percent;
            for target in [capacity - shrunk_blocks, capacity] {
                testbed.resize_to(target, options)?;
                testbed.guest().await_resized(target, PATIENCE)?;
            }
            let reports = testbed.guest().run(&verify, PATIENCE)?;
            let Some(Report::Verified(read)) = reports.last() else {
                bail!("the guest did not report what it read");
            };
            folder.append(&RegrowRow {
                shrunk_blocks,
                intact_blocks: read.ok,
                zero_blocks: read.zeros,
                bad_blocks: capacity - read.ok - read.zeros,
            })?;
        }
        testbed.shut_down()
    }

    fn claims(rows: &Self::Rows, _manifest: &Manifest) -> Verdict {
        let is_intact =
            |row: &&RegrowRow| row.bad_blocks == 0 && row.zero_blocks == row.shrunk_blocks;
        Verdict::new("Returned blocks")
            .require(
                "Returned blocks read as zeros, and all others as they were written.",
                Measured::every(&rows.0, "resizes", is_intact),
            )
            .tables([Table::of(
                "Resizes",
                &rows.0,
                &[
                    ("given up (blocks)", &|row| row.shrunk_blocks.to_string()),
                    ("zeros (blocks)", &|row| row.zero_blocks.to_string()),
                ],
            )])
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        let at = |row: &RegrowRow| (f64::from(row.shrunk_blocks), f64::from(row.zero_blocks));
        let dots = Series::dots("resizes", (BLUE, Mark::Full), rows.0.iter().map(at));
        plot::draw([Plot::new(
            "regrow",
            "Blocks that read as zeros after a grow",
            Scale::linear("Given up (blocks)"),
            Scale::linear("Zeros (blocks)"),
        )
        .subtitle("A dot for each shrink and the grow after it.")
        .caption("On the diagonal every returned block reads as zeros.")
        .panel("", [dots])])
    }
}
