//! What it records: slices of loads.

use lab::native::load::{Load, Pattern};
use results::row::Row;
use serde::{Deserialize, Serialize};

/// Who was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// Our backend.
    Ours,
    /// `qemu-storage-daemon`.
    Peer,
    /// Plain io_uring.
    Raw,
    /// Plain io_uring with [more](Load::deep) requests under way than the load has: the
    /// disk's limit.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum On {
    /// A file, past the page cache.
    Disk,
    /// Memory: of our backend, and for the peer a file in memory.
    Memory,
    /// Nowhere: neither moves any data.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    /// Both on one processor, so that neither waits for another one to wake up.
    OneProcessor,
    /// Wherever the scheduler has them.
    Anywhere,
}

/// A slice, as `bench_io.csv` has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IoRow {
    /// Where the bytes went.
    pub medium: On,
    /// Where client and server ran.
    pub placement: Placement,
    /// How requests followed each other.
    pub pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests under way; [`Who::Limit`] has more.
    pub depth: u16,
    /// The round; ratios are made within one.
    pub round: u32,
    /// Who was measured.
    pub who: Who,
    /// Requests.
    pub requests: u64,
    /// Length of the slice, nanoseconds.
    pub elapsed_ns: u64,
    /// Half of the requests took no longer, nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 took no longer, nanoseconds.
    pub p99_ns: u64,
    /// Processor time of the server, nanoseconds; none for plain io_uring.
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
