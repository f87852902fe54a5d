//! A load on a block device, and what a slice of it came to.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vssd_host::latency::Histogram;

/// How requests follow each other, and which way the data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Reads, each anywhere.
    RandomRead,
    /// Writes, each anywhere.
    RandomWrite,
    /// Reads, one behind the other.
    SequentialRead,
    /// Writes, one behind the other.
    SequentialWrite,
}

impl Pattern {
    /// Whether data are written.
    pub fn writes(self) -> bool {
        matches!(self, Self::RandomWrite | Self::SequentialWrite)
    }

    /// Whether each request lies anywhere.
    pub fn is_random(self) -> bool {
        matches!(self, Self::RandomRead | Self::RandomWrite)
    }
}

/// A closed loop: so many requests are under way at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Load {
    /// How requests follow each other.
    pub pattern: Pattern,
    /// Bytes of a request.
    pub bytes: u32,
    /// Requests under way.
    pub depth: u16,
}

impl Load {
    /// The loads that are compared on a disk.
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

    /// The same with so many requests under way that a disk has all the work it can
    /// take: what it gives then is its limit, not that of who asks.
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

/// What a slice of a load came to.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Requests that ended.
    pub requests: u64,
    /// How long it lasted.
    pub elapsed: Duration,
    /// How long the requests took, nanoseconds.
    pub latency: Histogram,
}

impl Slice {
    /// Requests a second.
    pub fn iops(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}
