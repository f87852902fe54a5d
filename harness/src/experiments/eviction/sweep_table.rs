//! The rows of a sweep: one for each point, seed and picker.

use super::picker::Picker;
use crate::experiments::common::swept;

/// The rows of a sweep and the names of its axes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SweepTable {
    /// Names of the parameters that were varied, in the order of the sweep's file.
    pub axes: Vec<String>,
    /// The rows, by point, seed and picker.
    pub rows: Vec<SweepRow>,
}

/// The misses of one picker at one point with one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SweepRow {
    /// Number of the point in the sweep, from 0.
    pub point: u32,
    /// The point's value on each axis, as TOML text without quotes.
    pub values: Vec<String>,
    /// Seed of the repetition.
    pub seed: u64,
    /// The picker.
    pub picker: Picker,
    /// All reads.
    pub reads: u64,
    /// Reads of blocks that the guest held.
    pub hits: u64,
    pub misses: u64,
}

impl SweepTable {
    /// The rows with valid fields.
    pub(crate) fn of(table: &swept::SweepTable) -> Self {
        let row = |row: &swept::SweepRow| {
            let outcome = Outcome::read(&row.fields).ok()?;
            Some(SweepRow {
                point: row.point,
                values: row.values.clone(),
                seed: row.seed,
                picker: outcome.picker,
                reads: outcome.reads,
                hits: outcome.hits,
                misses: outcome.misses,
            })
        };
        Self {
            axes: table.axes.clone(),
            rows: table.rows.iter().filter_map(row).collect(),
        }
    }
}

/// The counts of one picker in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The picker.
    pub picker: Picker,
    /// All reads: hits and misses.
    pub reads: u64,
    /// Reads of blocks that the guest held.
    pub hits: u64,
    pub misses: u64,
}

impl Outcome {
    /// Names of its fields.
    pub(crate) const COLUMNS: [&str; 4] = ["picker", "reads", "hits", "misses"];

    pub(crate) fn fields(&self) -> swept::Fields {
        let counts = [self.reads, self.hits, self.misses].map(|count| count.to_string());
        [self.picker.to_string()]
            .into_iter()
            .chain(counts)
            .collect()
    }

    /// # Errors
    /// What is wrong with the fields.
    pub(crate) fn read(fields: &[String]) -> Result<Self, String> {
        let [picker, reads, hits, misses] = fields else {
            return Err("the row is damaged".to_owned());
        };
        let count = |text: &str| {
            let count = text.parse::<u64>();
            count.map_err(|_| "the row is damaged".to_owned())
        };
        let outcome = Self {
            picker: picker.parse()?,
            reads: count(reads)?,
            hits: count(hits)?,
            misses: count(misses)?,
        };
        // Rejects other notations of the same numbers, such as leading zeros.
        if outcome.fields() != fields {
            return Err("the row is damaged".to_owned());
        }
        if outcome.hits.checked_add(outcome.misses) == Some(outcome.reads) {
            Ok(outcome)
        } else {
            Err(format!(
                "{hits} hits and {misses} misses are not {reads} reads"
            ))
        }
    }
}
