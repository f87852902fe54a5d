//! Rows of the direct-io experiment.

use results::row::Row;
use serde::{Deserialize, Serialize};

/// A look at the page cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirectIoRow {
    /// `direct` or `buffered`.
    pub mode: String,
    /// `before`, `write`, `read` or `after`.
    pub phase: String,
    /// When, from the start of the mode.
    pub at_ns: u64,
    /// Bytes of the backing file in the page cache.
    pub resident_bytes: u64,
    /// Bytes that the client had moved when the phase had ended; 0 in `before`.
    pub moved_bytes: u64,
    /// Bytes of the vSSD.
    pub vssd_bytes: u64,
}

impl Row for DirectIoRow {
    const FILE: &'static str = "direct_io.csv";
}
