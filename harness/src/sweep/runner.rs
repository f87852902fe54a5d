//! What runs a cell: the engine knows no more of the experiment than this.

use anyhow::Result;

use crate::experiments::eviction::picker::Picker;
use crate::experiments::eviction::run::on_twin;
use crate::experiments::experiment;

/// What one picker came to in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who picked.
    pub picker: Picker,
    /// Reads in all: the hits and the misses.
    pub reads: u64,
    /// Reads of blocks that the guest held.
    pub hits: u64,
    /// The others.
    pub misses: u64,
}

impl Outcome {
    /// True when every read either hit or missed.
    pub fn adds_up(&self) -> bool {
        self.hits.checked_add(self.misses) == Some(self.reads)
    }
}

/// Runs cells, on several threads at a time.
pub trait Runner: Sync {
    /// Checks a point's parameters without running anything.
    fn check(&self, params: &toml::Table) -> Result<()>;

    /// Runs every picker of the parameters with one seed. The same parameters
    /// and seed give the same outcomes.
    fn run(&self, params: &toml::Table, seed: u64) -> Result<Vec<Outcome>>;
}

/// The eviction experiment on twins.
#[derive(Clone, Copy, Debug)]
pub struct Eviction;

impl Runner for Eviction {
    fn check(&self, params: &toml::Table) -> Result<()> {
        experiment::params::<crate::experiments::eviction::Eviction>(params).map(drop)
    }

    fn run(&self, params: &toml::Table, seed: u64) -> Result<Vec<Outcome>> {
        let params = experiment::params::<crate::experiments::eviction::Eviction>(params)?;
        let outcome = |picker: &Picker| {
            let outcome = on_twin(&params, *picker, seed)?;
            Ok(Outcome {
                picker: *picker,
                reads: params.reads,
                hits: outcome.hits,
                misses: outcome.misses,
            })
        };
        params.pickers.iter().map(outcome).collect()
    }
}
