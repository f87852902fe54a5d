//! Rows of the media experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each load on a medium: requests of 4 KiB at random.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MediaRow {
    /// Emulated medium (`--media`); `none` for a backend in memory that emulates none.
    pub medium: String,
    /// `model`: the model by itself, on a virtual clock; `client`: without a guest; `guest`.
    pub side: String,
    /// `read` or `write`.
    pub op: String,
    /// Requests under way.
    pub depth: u32,
    /// Requests that ended.
    pub requests: u64,
    /// Duration of the whole load.
    pub elapsed_ns: u64,
    /// No request took less.
    pub min_ns: u64,
    /// 50 % of the requests took no longer.
    pub p50_ns: u64,
    /// 99 % of the requests took no longer.
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

/// One row for each emulated medium, at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MediaWearRow {
    /// Emulated medium.
    pub medium: String,
    /// Bytes that client and guest wrote.
    pub sent_bytes: u64,
    /// Bytes that the medium was asked to write.
    pub host_bytes: u64,
    /// Bytes that the medium wrote.
    pub media_bytes: u64,
    /// Pages that the medium wrote divided by pages that it was asked to write.
    pub write_amplification: f64,
    /// The same of a model on a virtual clock under the same loads.
    pub model_write_amplification: f64,
    /// Erase blocks that were erased.
    pub erases: u64,
    /// Cycles of the most worn part: erasures of an erase block of flash, elsewhere full writes of
    /// 2 MiB.
    pub cycles_max: f64,
    /// Cycles on average.
    pub cycles_mean: f64,
    /// Cycles at which wear-out begins, where the talk of 2017 gives the number.
    pub cycles_limit: Option<u64>,
}

impl Row for MediaWearRow {
    const FILE: &'static str = "media_wear.csv";
}
