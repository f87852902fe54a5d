//! A load on a block device, and the measurements of a slice of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vssd_host::latency::Histogram;

/// Order and direction of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    RandomRead,
    RandomWrite,
    SequentialRead,
    SequentialWrite,
}

impl Pattern {
    pub fn is_write(self) -> bool {
        matches!(self, Self::RandomWrite | Self::SequentialWrite)
    }

    pub fn is_random(self) -> bool {
        matches!(self, Self::RandomRead | Self::RandomWrite)
    }
}

/// A closed-loop load: `depth` requests are in flight at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Load {
    pub pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u32,
    pub depth: u16,
}

impl Load {
    /// The loads for the comparison on a disk.
    pub fn all() -> Vec<Self> {
        let random = [Pattern::RandomRead, Pattern::RandomWrite].map(|pattern| {
            [1, 8, 32].map(|depth| Self {
                pattern,
                bytes: 4096,
                depth,
            })
        });
        let sequential = [Pattern::SequentialRead, Pattern::SequentialWrite].map(|pattern| Self {
            pattern,
            bytes: 128 << 10,
            depth: 8,
        });
        random.concat().into_iter().chain(sequential).collect()
    }

    /// The same load at a depth that saturates a disk, so that the disk is the bottleneck and
    /// not the client.
    pub fn deep(self) -> Self {
        let depth = match self.bytes {
            ..=4096 => 64,
            _ => 32,
        };
        Self { depth, ..self }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = match self.pattern {
            Pattern::RandomRead => "random read",
            Pattern::RandomWrite => "random write",
            Pattern::SequentialRead => "sequential read",
            Pattern::SequentialWrite => "sequential write",
        };
        write!(
            f,
            "{} KiB {pattern}, depth {}",
            self.bytes / 1024,
            self.depth
        )
    }
}

/// Measurements of a slice of a load.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Completed requests.
    pub requests: u64,
    pub elapsed: Duration,
    /// Request latencies, nanoseconds.
    pub latency: Histogram,
}
