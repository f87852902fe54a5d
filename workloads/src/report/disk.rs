//! What a guest reports about its reads and writes of the disk.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Millis, PhaseKind};
use crate::latency::{Bucket, quantile_ns, total};

/// Answer to `fill`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Blocks written.
    pub blocks: u32,
    /// Writes that failed.
    pub errors: u32,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, errors } = self;
        write!(f, "{blocks} blocks written, {errors} errors")
    }
}

/// Answer to `verify`. `ok + zeros + corrupt + errors` is the capacity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Blocks that carry what was written last.
    pub ok: u32,
    /// Blocks that were never written since they were granted and read as zeros.
    pub zeros: u32,
    /// Blocks that read as something else.
    pub corrupt: u32,
    /// Blocks that could not be read.
    pub errors: u32,
    /// Of these, turned away by the driver.
    pub refused_by_driver: u32,
    /// Of these, turned away by the device.
    pub refused_by_device: u32,
    /// Held blocks among the errors, and blocks not held that could be read:
    /// 0 unless one side is wrong.
    pub unexpected: u32,
    /// The first corrupt or unexpected block; the capacity when there is none.
    pub first_bad: u32,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ok,
            zeros,
            corrupt,
            errors,
            refused_by_driver,
            refused_by_device,
            unexpected,
            first_bad: _,
        } = self;
        write!(
            f,
            "{ok} blocks as written, {zeros} zeros, {corrupt} corrupt, {errors} read errors \
             ({refused_by_driver} by the driver, {refused_by_device} by the device), \
             {unexpected} unexpected"
        )
    }
}

/// Part of the answer to `read per-block=true`: counts of blocks that were
/// read at all, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// For each block its number, hits and misses.
    pub counts: Vec<(u32, u32, u32)>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts } = self;
        write!(f, "counts of {} blocks", counts.len())
    }
}

/// Answer to `read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Reads that returned data.
    pub hits: u64,
    /// Reads of blocks that are not held.
    pub misses: u64,
    /// Reads of held blocks that failed or returned something else than
    /// was written.
    pub errors: u64,
    /// Time from the first to the last.
    pub elapsed_ns: u64,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hits,
            misses,
            errors,
            elapsed_ns,
        } = self;
        write!(
            f,
            "{hits} hits, {misses} misses, {errors} errors in {}",
            Millis(*elapsed_ns)
        )
    }
}

/// Part of the answer to `stress latency=true`: a phase, of all phases in
/// order. A request belongs to a resize that was under way at any time
/// while it was in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// What the list did.
    pub phase: PhaseKind,
    /// How long the phase was.
    pub phase_ns: u64,
    /// The longest time in which requests were in flight and none came back.
    pub longest_stall_ns: u64,
    /// From the submission of a request until the guest took it back.
    pub buckets: Vec<Bucket>,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            phase,
            phase_ns,
            longest_stall_ns,
            buckets,
        } = self;
        write!(
            f,
            "{phase} for {}: {} requests, p50 {}, p99 {}, p99.9 {}, longest stall {}",
            Millis(*phase_ns),
            total(buckets),
            Millis(quantile_ns(buckets, 500)),
            Millis(quantile_ns(buckets, 990)),
            Millis(quantile_ns(buckets, 999)),
            Millis(*longest_stall_ns)
        )
    }
}

/// What was wrong with a request of `stress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Wrong {
    /// A read failed.
    ReadFailed,
    /// A write failed.
    WriteFailed,
    /// A read returned other data than were written last.
    OtherData {
        /// Their first 64-bit word.
        first_word: u64,
        /// Their last 64-bit word.
        last_word: u64,
    },
}

/// Part of the answer to `stress`: one of the first requests that failed or returned other
/// data than were written last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StressFault {
    /// Its block.
    pub block: u32,
    /// What was wrong.
    pub wrong: Wrong,
    /// Version of the block that was expected, 0 for zeros; none where several were possible.
    pub expected: Option<u8>,
    /// Requests of the command that had ended before.
    pub after_requests: u64,
}

impl fmt::Display for StressFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            block,
            wrong,
            expected,
            after_requests,
        } = self;
        write!(
            f,
            "{wrong} at block {block} after {after_requests} requests"
        )?;
        if let Wrong::OtherData {
            first_word,
            last_word,
        } = wrong
        {
            write!(f, ": from {first_word:016x} to {last_word:016x}")?;
        }
        match expected {
            Some(version) => write!(f, ", expected version {version}"),
            None => Ok(()),
        }
    }
}

/// Answer to `stress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stressed {
    /// Reads that returned what was written last.
    pub reads: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Requests to blocks that were revoked while they were in flight or
    /// before the guest heard of it.
    pub lost_race: u64,
    /// Requests that failed otherwise.
    pub errors: u64,
    /// Reads that returned something else than was written last.
    pub corrupt: u64,
}

impl fmt::Display for Stressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reads,
            writes,
            lost_race,
            errors,
            corrupt,
        } = self;
        write!(
            f,
            "{reads} reads, {writes} writes, {lost_race} lost to revocation, {errors} errors, \
             {corrupt} corrupt"
        )
    }
}
