//! Whether a guest reads zeros from returned blocks.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use harness::experiments::common::lab::Lab;
use harness::experiments::common::params::size;
use harness::experiments::experiment::{Experiment, Needs};
use lab::testbed::{ResizeOptions, Shape, fill};
use plotters::prelude::*;
use results::chart::axis::Axis;
use results::chart::sheet::{BLUE, Header, Mark, dress, marker, sheet};
use results::chart::{Drawing, Figure, scale};
use results::manifest::Manifest;
use results::row::Row;
use results::store::RunFolder;
use results::verdict::{Source, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use vssd_host::size::ByteSize;
use workloads::command::Enforce;
use workloads::{Command, Pick, Report, command};

const PATIENCE: Duration = Duration::from_secs(60);

/// Parameters as in `defaults.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    size: String,
    shrink_percent: Vec<u32>,
}

/// Parameters, checked.
pub(crate) struct Params {
    size: ByteSize,
    shrink_percent: Vec<u32>,
}

impl TryFrom<Raw> for Params {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<Self> {
        for percent in &raw.shrink_percent {
            ensure!(
                (1..=100).contains(percent),
                "`shrink_percent` has {percent}: choose 1 to 100"
            );
        }
        Ok(Self {
            size: size("size", &raw.size)?,
            shrink_percent: raw.shrink_percent,
        })
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

    type Raw = Raw;
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
        let rows = &rows.0;
        let mut verdict = Verdict {
            title: "Blocks that come back".to_owned(),
            claims: Vec::new(),
            findings: Vec::new(),
            tables: Vec::new(),
        };
        let bad: u32 = rows.iter().map(|row| row.bad_blocks).sum();
        let as_claimed = |row: &RegrowRow| row.zero_blocks == row.shrunk_blocks;
        verdict.claim(
            Source::Requirement,
            "Blocks that come back read as zeros, and all others as they were written.",
            !rows.is_empty() && bad == 0 && rows.iter().all(as_claimed),
            format!("{bad} bad blocks in {} resizes.", rows.len()),
        );
        verdict
    }

    fn figures(rows: &Self::Rows, _manifest: &Manifest) -> Result<Vec<Drawing>> {
        let most = rows.0.iter().map(|row| f64::from(row.shrunk_blocks));
        let most = most.fold(1.0, f64::max);
        let header = Header {
            title: "Blocks that read as zeros after a grow",
            subtitle: "A dot for each shrink and the grow after it",
            legend: Vec::new(),
        };
        let axis = || Axis::linear(0.0..most * 1.1, scale::linear_ticks(most, 6), scale::count);
        let svg = sheet(&header, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin(14)
                .x_label_area_size(52)
                .y_label_area_size(100)
                .build_cartesian_2d(axis(), axis())?;
            let mut mesh = chart.configure_mesh();
            dress(&mut mesh);
            mesh.x_desc("Given up (blocks)")
                .y_desc("Zeros (blocks)")
                .draw()?;
            chart.draw_series(rows.0.iter().map(|row| {
                let at = (f64::from(row.shrunk_blocks), f64::from(row.zero_blocks));
                marker(at, 5, BLUE, Mark::Full)
            }))?;
            Ok(())
        })?;
        let figure = Figure {
            stem: "regrow",
            title: header.title.to_owned(),
            caption: "On the diagonal every block that came back reads as zeros.".to_owned(),
        };
        Ok(vec![(figure, svg)])
    }
}
