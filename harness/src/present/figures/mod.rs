//! The figures of a run, each as SVG and as PNG, from its recorded rows.
//!
//! A module for each experiment draws into an SVG text and touches no files;
//! [`sheet`] is the look they share, [`axis`] and [`scale`] their axes, [`png`] turns the
//! same SVG into pixels.

mod block_cache;
mod correctness;
mod direct_io;
mod eviction;
mod latency;
mod media;
mod overhead;
mod pickers;
mod sharing;
mod shrink_cache;
mod sim;
mod sweep;
mod write_policy;

use std::path::Path;

use anyhow::{Context, Result};
use results::chart::write;
pub(super) use results::chart::{Drawing, Figure, scale};
use results::store::Reader;
use simulate::{curves, replay};

use crate::experiment::Experiment;
use crate::present::study::sweep::Landscape;

/// Draws the figures of the run in `folder`. What was not recorded has none.
pub fn draw(experiment: Experiment, folder: &Path) -> Result<Vec<Figure>> {
    // What is damaged has been named by the study.
    let reader = Reader::new(folder);
    let drawings = match experiment {
        Experiment::Correctness => correctness::draw(&reader.rows()?),
        Experiment::Eviction => {
            eviction::draw(&reader.rows()?, &reader.rows()?).and_then(|mut drawings| {
                drawings.extend(pickers::draw(&reader.rows()?)?);
                Ok(drawings)
            })
        }
        Experiment::Overhead => overhead::draw(&reader.rows()?),
        Experiment::Latency => latency::draw(&reader.rows()?, &reader.rows()?, &reader.rows()?),
        Experiment::Sharing => sharing::draw(&reader.rows()?, &reader.rows()?),
        Experiment::DirectIo => direct_io::draw(&reader.rows()?),
        Experiment::Media => media::draw(&reader.rows()?),
        Experiment::BlockCache => {
            block_cache::draw(&reader.rows()?, &reader.rows()?, &reader.rows()?)
        }
        Experiment::WritePolicy => {
            write_policy::draw(&reader.rows()?, &reader.rows()?, &reader.rows()?)
        }
        Experiment::ShrinkCache => shrink_cache::draw(&reader.rows()?),
    }
    .context("draw the figures")?;
    write(drawings, folder)
}

/// Draws the figures of a sweep into its folder.
pub fn draw_sweep(title: &str, landscape: &Landscape, folder: &Path) -> Result<Vec<Figure>> {
    let drawings = sweep::draw(title, landscape).context("draw the figures")?;
    write(drawings, folder)
}

/// Draws the figures of a simulation into its folder.
pub fn draw_sim(
    what: &str,
    rows: &[replay::Row],
    steps: &[curves::Row],
    folder: &Path,
) -> Result<Vec<Figure>> {
    let drawings = sim::draw(what, rows, steps).context("draw the figures")?;
    write(drawings, folder)
}

#[cfg(test)]
mod tests;
