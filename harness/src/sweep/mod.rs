//! Sweeps: an experiment on twins over lists and ranges of its parameters.
//!
//! ```text
//!  file (TOML) ──▶ plan: points × seeds = cells ──▶ engine: threads run the cells of a shard
//!                                                      │ rows, failures
//!                    merge: folders of shards ──────▶ folder: sweep.json, sweep.csv, failures.csv
//! ```
//!
//! A *point* is a combination of one value per axis; a *cell* is one seed at one point. Cells are
//! the unit of distribution over threads and machines, and of recovery after a kill. The rows of
//! a cell depend only on its parameters and seed, so the complete table has the same bytes
//! regardless of threads, shards and interruptions.

pub(crate) mod cli;
pub(crate) mod engine;
pub(crate) mod file;
pub(crate) mod folder;
mod kind;
pub(crate) mod manifest;
pub(crate) mod merge;
pub(crate) mod plan;
mod progress;
pub(crate) mod report;
pub(crate) mod rows;
pub(crate) mod shard;
#[cfg(test)]
mod tests;
mod values;

/// The built-in sweeps: name and TOML text.
pub(crate) const BUILT_IN: [(&str, &str); 4] = [
    ("spread", include_str!("../../sweeps/spread.toml")),
    ("workloads", include_str!("../../sweeps/workloads.toml")),
    ("sample", include_str!("../../sweeps/sample.toml")),
    ("knowledge", include_str!("../../sweeps/knowledge.toml")),
];
