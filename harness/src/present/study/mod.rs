//! Which claims hold, judged from recorded rows alone.
//!
//! The claims are those of the 2017 defence, in our words, and the numbers
//! that this project set itself. Rows that are missing never make a claim hold.

pub mod block_cache;
pub mod correctness;
pub mod direct_io;
pub mod eviction;
pub mod latency;
pub mod media;
pub mod overhead;
pub mod pickers;
pub mod sharing;
pub mod shrink_cache;
pub mod sweep;
pub mod write_policy;

use std::path::Path;

use anyhow::Result;
use lab::testbed::Transport;
use results::manifest::Manifest;
use results::store::Reader;
use results::verdict::completeness;
pub(super) use results::verdict::{Source, Table, Verdict, distinct, median, millis};

use crate::experiment::Experiment;
use crate::record::{BootRow, EvictionBlockRow};

/// Judges the run in `folder`.
pub fn judge(experiment: Experiment, folder: &Path, manifest: &Manifest) -> Result<Verdict> {
    let reader = Reader::new(folder);
    let timed = manifest.transport != Transport::Twin.to_string();
    let mut verdict = match experiment {
        Experiment::Correctness => correctness::judge(&reader.rows()?, &reader.rows()?),
        Experiment::Eviction => {
            let pickers = reader.rows()?;
            let mut verdict = eviction::judge(&reader.rows()?, &reader.rows()?, &pickers);
            pickers::judge(&mut verdict, &pickers, &reader.rows()?);
            reader.rows::<EvictionBlockRow>()?;
            verdict
        }
        Experiment::Overhead => overhead::judge(&reader.rows()?, &reader.rows()?, timed),
        Experiment::Latency => latency::judge(&reader.rows()?, &reader.rows()?, &reader.rows()?),
        Experiment::Sharing => sharing::judge(&reader.rows()?, &reader.rows()?),
        Experiment::DirectIo => direct_io::judge(&reader.rows()?),
        Experiment::Media => media::judge(&reader.rows()?, &reader.rows()?),
        Experiment::BlockCache => {
            let (rows, sims, paces) = (reader.rows()?, reader.rows()?, reader.rows()?);
            let mut verdict = block_cache::judge(&rows, &sims, &paces, timed);
            verdict
                .findings
                .extend(block_cache::of_trace(&reader.rows()?));
            verdict
        }
        Experiment::WritePolicy => {
            write_policy::judge(&reader.rows()?, &reader.rows()?, &reader.rows()?)
        }
        Experiment::ShrinkCache => {
            shrink_cache::judge(&reader.rows()?, &reader.rows()?, &reader.rows()?)
        }
    };
    let boots: Vec<BootRow> = reader.rows()?;
    verdict.tables.push(boot_table(&boots));
    let (complete, measured) = completeness(&reader, manifest);
    verdict.claim(
        Source::Requirement,
        "The run measures all that it sets out to, and all rows that it recorded are there and sound.",
        complete,
        measured,
    );
    Ok(verdict)
}

fn boot_table(boots: &[BootRow]) -> Table {
    Table {
        title: "Guest power-on".to_owned(),
        head: [
            "machine",
            "accelerator",
            "QEMU started to guest ready (ms)",
            "guest clock started to first I/O done (ms)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: boots
            .iter()
            .map(|boot| {
                vec![
                    boot.machine.clone(),
                    boot.accelerator.clone(),
                    millis(boot.ready_ns),
                    millis(boot.first_io_guest_ns),
                ]
            })
            .collect(),
    }
}
