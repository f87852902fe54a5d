//! Rows of the media experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each load on a medium: requests of 4 KiB at random.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MediaRow {
    /// Emulated medium (`--media`); `none` for a backend in memory that emulates none.
    pub medium: String,
    /// `model`: the model alone, on a virtual clock; `client`: without a guest; `guest`.
    pub side: String,
    /// `read` or `write`.
    pub op: String,
    /// Requests in flight.
    pub depth: u32,
    /// Completed requests.
    pub requests: u64,
    /// Duration of the whole load.
    pub elapsed_ns: u64,
    /// Shortest request.
    pub min_ns: u64,
    /// Median request time.
    pub p50_ns: u64,
    /// 99th percentile of request times.
    pub p99_ns: u64,
}

impl MediaRow {
    /// Completed requests per second.
    pub(crate) fn iops(&self) -> f64 {
        self.requests as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }
}

impl Row for MediaRow {
    const FILE: &'static str = "media.csv";
}

/// One row for each emulated medium, after all loads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MediaWearRow {
    /// Emulated medium.
    pub medium: String,
    /// Bytes that client and guest wrote.
    pub sent_bytes: u64,
    /// Bytes that requests wrote, as the medium counts them.
    pub host_bytes: u64,
    /// Bytes that the medium wrote.
    pub media_bytes: u64,
    /// Pages that the medium wrote over pages that requests wrote.
    pub write_amplification: f64,
    /// The same for a model on a virtual clock under the same loads.
    pub model_write_amplification: f64,
    /// Erasures of erase blocks.
    pub erases: u64,
    /// Cycles of the most worn unit: erasures of an erase block on flash, full writes of 2 MiB
    /// elsewhere.
    pub cycles_max: f64,
    /// Mean cycles.
    pub cycles_mean: f64,
    /// Rated cycles, where the talk of 2017 gives them.
    pub cycles_limit: Option<u64>,
}

impl Row for MediaWearRow {
    const FILE: &'static str = "media_wear.csv";
}
