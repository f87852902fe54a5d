//! What a sweep measures, as a tidy table: one row for each point, seed and picker.

use crate::experiments::eviction::picker::Picker;

/// The rows of a sweep and the names of its axes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepTable {
    /// Names of the parameters that were varied, in the order of the sweep's file.
    pub axes: Vec<String>,
    /// The rows, by point, seed and picker.
    pub rows: Vec<SweepRow>,
}

/// One picker's misses at one point with one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepRow {
    /// Number of the point in the sweep, from 0.
    pub point: u32,
    /// The point's value on each axis, as TOML text without quotes.
    pub values: Vec<String>,
    /// Seed of the repetition.
    pub seed: u64,
    /// Who picked.
    pub picker: Picker,
    /// Reads in all.
    pub reads: u64,
    /// Reads of blocks that the guest held.
    pub hits: u64,
    /// The others.
    pub misses: u64,
}
