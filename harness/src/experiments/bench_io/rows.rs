//! Rows of the bench-io experiment.

use lab::native::load::{Load, Pattern};
use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

/// Measured side.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// `vssd-host`.
    #[strum(to_string = "vssd-host")]
    Ours,
    /// `qemu-storage-daemon`.
    #[strum(to_string = "qemu-storage-daemon")]
    Peer,
    /// Plain io_uring.
    #[strum(to_string = "raw io_uring")]
    Raw,
    /// Plain io_uring with 64 requests of 4 KiB or 32 of 128 KiB in flight: the disk's limit.
    #[strum(to_string = "raw io_uring, deep")]
    Limit,
}

/// Medium of the data.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum On {
    /// A file with direct I/O.
    Disk,
    /// The backend's memory; for the peer, a file in memory.
    Memory,
    /// Null devices: no data are transferred.
    Nowhere,
}

/// Placement of client and server.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    /// Client and server on the processor on which plain io_uring is fastest.
    OneProcessor,
    /// Placed by the scheduler.
    Anywhere,
}

/// One row for each slice of a load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct IoRow {
    /// Medium of the data.
    pub medium: On,
    /// Placement of client and server.
    pub placement: Placement,
    /// `random-read`, `random-write`, `sequential-read` or `sequential-write`.
    #[schemars(with = "String")]
    pub pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests in flight; in rows of `limit`, those of the compared load.
    pub depth: u16,
    /// Round; slices are compared within a round.
    pub round: u32,
    /// Measured side.
    pub who: Side,
    /// Requests completed in the slice.
    pub requests: u64,
    /// Duration of the slice.
    pub elapsed_ns: u64,
    /// Median request time at the client.
    pub p50_ns: u64,
    /// 99th percentile of request times at the client.
    pub p99_ns: u64,
    /// Processor time of the server's process in the slice; empty for `raw` and `limit`.
    pub server_cpu_ns: Option<u64>,
}

impl Row for IoRow {
    const FILE: &'static str = "bench_io.csv";
}

impl IoRow {
    pub(crate) fn load(&self) -> Load {
        Load {
            pattern: self.pattern,
            bytes: self.bytes,
            depth: self.depth,
        }
    }

    pub(crate) fn iops(&self) -> f64 {
        self.requests as f64 * 1e9 / self.elapsed_ns as f64
    }

    pub(crate) fn cpu_ns(&self) -> Option<f64> {
        let cpu = self.server_cpu_ns?;
        Some(cpu as f64 / self.requests as f64)
    }
}
