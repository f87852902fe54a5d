//! Sweeps: an experiment on twins over lists and ranges of its parameters.
//!
//! ```text
//!  file (TOML) ──▶ plan: points × seeds = cells ──▶ engine: threads run the cells of a shard
//!                                                      │ rows, failures
//!                    merge: folders of shards ──────▶ folder: sweep.json, sweep.csv, failures.csv
//! ```
//!
//! A *point* is one choice of a value on every axis, a *cell* one seed at one
//! point. Cells are what threads and machines divide among themselves and what
//! is done or not done after a kill. What a cell yields depends on its
//! parameters and its seed alone, so the finished table has the same bytes
//! however it came about.

pub(crate) mod cli;
pub(crate) mod engine;
pub(crate) mod file;
pub(crate) mod folder;
mod kind;
pub(crate) mod manifest;
pub(crate) mod merge;
mod pace;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod rows;
pub(crate) mod shard;
#[cfg(test)]
mod tests;
mod values;

/// The sweeps that come with the harness: name and TOML text.
pub(crate) const BUILT_IN: [(&str, &str); 3] = [
    ("spread", include_str!("../../sweeps/spread.toml")),
    ("workloads", include_str!("../../sweeps/workloads.toml")),
    ("sample", include_str!("../../sweeps/sample.toml")),
];
