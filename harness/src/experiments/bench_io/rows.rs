//! What it records: slices of loads.

use lab::native::load::{Load, Pattern};
use results::row::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// `vssd-host`.
    Ours,
    /// `qemu-storage-daemon`.
    Peer,
    /// Plain io_uring.
    Raw,
    /// Plain io_uring with 64 requests of 4 KiB or 32 of 128 KiB under way: the disk's limit.
    Limit,
}

impl Who {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ours => "vssd-host",
            Self::Peer => "qemu-storage-daemon",
            Self::Raw => "raw io_uring",
            Self::Limit => "raw io_uring, deep",
        }
    }
}

/// Where the bytes went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum On {
    /// A file, past the page cache.
    Disk,
    /// The backend's memory, or for the peer a file in memory.
    Memory,
    /// Null devices: no data are moved.
    Nowhere,
}

impl On {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Nowhere => "nowhere",
        }
    }
}

/// Where client and server run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    /// Client and server on the processor on which plain io_uring is fastest.
    OneProcessor,
    /// Where the scheduler places them.
    Anywhere,
}

/// One row for each slice of a load.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct IoRow {
    /// Where the bytes went.
    pub medium: On,
    /// Where client and server ran.
    pub placement: Placement,
    /// `random-read`, `random-write`, `sequential-read` or `sequential-write`.
    #[schemars(with = "String")]
    pub pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests under way; in rows of `limit`, those of the load that they stand beside.
    pub depth: u16,
    /// Slices of one round are compared with each other.
    pub round: u32,
    /// What was measured.
    pub who: Who,
    /// Requests that ended in the slice.
    pub requests: u64,
    /// Length of the slice.
    pub elapsed_ns: u64,
    /// 50 % of the requests took no longer, as the client sees it.
    pub p50_ns: u64,
    /// 99 % of the requests took no longer, as the client sees it.
    pub p99_ns: u64,
    /// Processor time of the server's process meanwhile; empty for `raw` and `limit`.
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
