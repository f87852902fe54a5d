//! Rows of the direct-io experiment.

use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each sample of the host's page cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DirectIoRow {
    /// How the backend opened the file: `direct`, or `buffered` (`--buffered`).
    pub mode: String,
    /// `before` the first request; `write`: the whole vSSD, sequentially; `read`: at random;
    /// `after` the last request.
    pub phase: String,
    /// Time of the sample since the client connected.
    pub at_ns: u64,
    /// Bytes of the backing file in the page cache, by cachestat(2).
    pub resident_bytes: u64,
    /// Bytes written and read by the client by the end of the phase; 0 in `before`.
    pub moved_bytes: u64,
    /// Bytes of the vSSD.
    pub vssd_bytes: u64,
}

impl Row for DirectIoRow {
    const FILE: &'static str = "direct_io.csv";
}
