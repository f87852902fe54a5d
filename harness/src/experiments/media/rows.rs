//! Rows of the media experiment.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// A load on a medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MediaRow {
    /// Name of the medium, or `none` for no model.
    pub medium: String,
    /// `model`, `client` or `guest`.
    pub side: String,
    /// `read` or `write`.
    pub op: String,
    /// Requests under way.
    pub depth: u32,
    /// Requests of 4 KiB.
    pub requests: u64,
    /// How long all of it took, nanoseconds.
    pub elapsed_ns: u64,
    /// No request took less, nanoseconds.
    pub min_ns: u64,
    /// Half of them took no longer, nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 took no longer, nanoseconds.
    pub p99_ns: u64,
}

impl MediaRow {
    /// Requests a second.
    pub(crate) fn iops(&self) -> f64 {
        self.requests as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }
}

impl Row for MediaRow {
    const FILE: &'static str = "media.csv";
}

/// What writing did to a medium.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MediaWearRow {
    /// Name of the medium.
    pub medium: String,
    /// Bytes that client and guest wrote.
    pub sent_bytes: u64,
    /// Bytes that the medium was asked to write.
    pub host_bytes: u64,
    /// Bytes that it wrote.
    pub media_bytes: u64,
    /// The latter by the former, in pages.
    pub write_amplification: f64,
    /// The same of a model that was written in the same manner on a virtual clock.
    pub model_write_amplification: f64,
    /// Erase blocks erased.
    pub erases: u64,
    /// Cycles of what is worn most.
    pub cycles_max: f64,
    /// Cycles on average.
    pub cycles_mean: f64,
    /// Cycles at which wear-out begins, where that is known.
    pub cycles_limit: Option<u64>,
}

impl Row for MediaWearRow {
    const FILE: &'static str = "media_wear.csv";
}
