//! What a sweep knows of the experiment that it varies.

use anyhow::Result;
use results::chart::Drawing;
use results::verdict::Verdict;

/// A row of a cell: its fields, as they stand in `sweep.csv` behind the seed.
pub(crate) type Fields = Vec<String>;

/// Where a row stands in its cell, from 0, and how many rows the cell has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub at: usize,
    pub of: usize,
}

/// The rows of a sweep and the names of its axes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepTable {
    /// Names of the parameters that were varied, in the order of the sweep's file.
    pub axes: Vec<String>,
    /// The rows, by point, seed and place.
    pub rows: Vec<SweepRow>,
}

/// A row of a cell, with what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepRow {
    /// Number of the point in the sweep, from 0.
    pub point: u32,
    /// The point's value on each axis, as TOML text without quotes.
    pub values: Vec<String>,
    pub seed: u64,
    pub fields: Fields,
}

/// Runs cells, on several threads at a time.
pub trait Runner: Sync {
    /// Checks a point's parameters without running anything.
    fn check(&self, params: &toml::Table) -> Result<()>;

    /// Runs a point with one seed. The same parameters and seed give the same rows.
    fn run(&self, params: &toml::Table, seed: u64) -> Result<Vec<Fields>>;
}

/// An experiment that sweeps can vary.
pub trait Swept: Runner {
    /// Columns of the rows.
    fn columns(&self) -> Vec<String>;

    /// Parameters that are the same at every point.
    fn constant(&self) -> &'static [&'static str];

    /// Seeds at each point, where the experiment has a parameter for that.
    fn seeds(&self, parameters: &toml::Table) -> Result<Option<u32>>;

    /// What each cell has one row of, in order; none where rows say it themselves.
    fn parts(&self, parameters: &toml::Table) -> Result<Vec<String>>;

    /// Where a row stands in its cell.
    ///
    /// # Errors
    /// What is wrong with it.
    fn place(&self, parts: &[String], fields: &[String]) -> Result<Place, String>;

    /// Judges a sweep of which so many cells are missing, and so many failed.
    fn judge(&self, title: &str, table: &SweepTable, missing: usize, failed: usize) -> Verdict;

    /// Draws a sweep.
    fn draw(&self, title: &str, table: &SweepTable) -> Result<Vec<Drawing>>;
}
