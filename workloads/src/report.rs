//! What the guest says back: one JSON object a line.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::latency::{Bucket, quantile_ns, total};

/// What the list of blocks did during a phase of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum PhaseKind {
    /// It stayed as it was.
    Quiet,
    /// Blocks were given up or taken.
    Shrink,
    /// Blocks came back.
    Grow,
    /// All that came after more phases than are told apart.
    Rest,
}

/// What kind of disk a guest works on, and with that whether its size can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// A vSSD with all its queues.
    Vssd,
    /// A vSSD that lacks the queues for events and commands: a disk of fixed size.
    VssdOfQueues(u16),
    /// A vSSD by a version of the contract that this guest does not speak: a disk of
    /// fixed size.
    VssdOfVersion(u16),
    /// A virtio-blk disk of fixed size, not a vSSD.
    Plain,
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vssd => f.write_str("vSSD"),
            Self::VssdOfQueues(1) => f.write_str("vSSD of fixed size (1 queue)"),
            Self::VssdOfQueues(queues) => write!(f, "vSSD of fixed size ({queues} queues)"),
            Self::VssdOfVersion(version) => write!(f, "vSSD of fixed size (version {version})"),
            Self::Plain => f.write_str("plain disk of fixed size"),
        }
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
        /// The first 64-bit word of them.
        first_word: u64,
        /// The last one.
        last_word: u64,
    },
}

/// A line of the guest. Times are nanoseconds of the guest's clock, counts are
/// blocks unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    /// The guest is up and has agreed on its list with the device; it carries
    /// out commands from now on.
    Ready {
        /// Version of the guest's image.
        version: String,
        /// The kind of its disk.
        disk: DiskKind,
        /// Bytes in a block.
        block_size: u32,
        /// Blocks at full size.
        capacity: u32,
        /// Blocks held.
        held: u32,
        /// From the start of the guest's clock to the completion of its first
        /// read of the device.
        first_io_ns: u64,
    },
    /// The command has been carried out; its reports came before.
    Done {
        /// The command, as text.
        command: String,
        /// How long it took.
        elapsed_ns: u64,
    },
    /// The command was not carried out, or went wrong.
    Failed {
        /// The command, as it was read; empty when it was not about one.
        command: String,
        /// What went wrong.
        reason: String,
    },
    /// Answer to `info`.
    Info {
        /// The kind of the disk.
        disk: DiskKind,
        /// The disk refuses writes.
        read_only: bool,
        /// Bytes in a block.
        block_size: u32,
        /// Blocks at full size.
        capacity: u32,
        /// Blocks held.
        held: u32,
        /// Digest of the list of held blocks (SPEC.md, 4.9).
        digest: u64,
        /// Blocks given up since boot.
        surrendered: u64,
        /// Blocks granted since boot.
        granted: u64,
        /// Blocks lost to revocation since boot.
        revoked: u64,
    },
    /// Answer to `fill`.
    Filled {
        /// Blocks written.
        blocks: u32,
        /// Writes that failed.
        errors: u32,
    },
    /// Answer to `verify`. `ok + zeros + corrupt + errors` is the capacity.
    Verified {
        /// Blocks that carry what was written last.
        ok: u32,
        /// Blocks that were never written since they were granted and read as zeros.
        zeros: u32,
        /// Blocks that read as something else.
        corrupt: u32,
        /// Blocks that could not be read.
        errors: u32,
        /// Of these, turned away by the driver.
        refused_by_driver: u32,
        /// Of these, turned away by the device.
        refused_by_device: u32,
        /// Held blocks among the errors, and blocks not held that could be read:
        /// 0 unless one side is wrong.
        unexpected: u32,
        /// The first corrupt or unexpected block; the capacity when there is none.
        first_bad: u32,
    },
    /// Part of the answer to `read per-block=true`: counts of blocks that were
    /// read at all, in ascending order.
    Counts {
        /// For each block its number, hits and misses.
        counts: Vec<(u32, u32, u32)>,
    },
    /// Answer to `read`.
    Read {
        /// Reads that returned data.
        hits: u64,
        /// Reads of blocks that are not held.
        misses: u64,
        /// Reads of held blocks that failed or returned something else than
        /// was written.
        errors: u64,
        /// Time from the first to the last.
        elapsed_ns: u64,
    },
    /// Part of the answer to `stress latency=true`: a phase, of all phases in
    /// order. A request belongs to a resize that was under way at any time
    /// while it was in flight.
    Latency {
        /// What the list did.
        phase: PhaseKind,
        /// How long the phase was.
        phase_ns: u64,
        /// The longest time in which requests were in flight and none came back.
        longest_stall_ns: u64,
        /// From the submission of a request until the guest took it back.
        buckets: Vec<Bucket>,
    },
    /// Part of the answer to `stress`: one of the first requests that failed or returned other
    /// data than were written last.
    StressFault {
        /// Its block.
        block: u32,
        /// What was wrong.
        wrong: Wrong,
        /// Version of the block that was expected, 0 for zeros; none where several were possible.
        expected: Option<u8>,
        /// Requests of the command that had ended before.
        after_requests: u64,
    },
    /// Answer to `stress`.
    Stressed {
        /// Reads that returned what was written last.
        reads: u64,
        /// Writes that succeeded.
        writes: u64,
        /// Requests to blocks that were revoked while they were in flight or
        /// before the guest heard of it.
        lost_race: u64,
        /// Requests that failed otherwise.
        errors: u64,
        /// Reads that returned something else than was written last.
        corrupt: u64,
    },
    /// Answer to `cache`.
    CacheOpened {
        /// Blocks of the origin disk that the application may use.
        origin_blocks: u32,
        /// Blocks of the vSSD in which data may be cached, now.
        slots: u32,
        /// Blocks of the vSSD that hold the cache's own records, now.
        metadata_blocks: u32,
        /// Blocks that were found cached, and kept.
        restored: u32,
        /// Of these, dirty ones.
        restored_dirty: u32,
        /// Dirty blocks that an earlier cache lost, now or before.
        lost: u32,
        /// Bytes of memory that the cache takes, for each 1000 blocks it may have.
        memory_bytes_per_1000: u32,
    },
    /// Part of the answer to `replay`: where the cache is after some accesses. Counts
    /// of hits and misses are of the accesses since the sample before.
    CacheSample {
        /// Accesses that have ended since the replay began.
        accesses: u64,
        /// Since the replay began.
        at_ns: u64,
        /// Reads served from the vSSD.
        read_hits: u64,
        /// Reads served from the origin disk.
        read_misses: u64,
        /// Writes to blocks that were cached.
        write_hits: u64,
        /// Writes to blocks that were not.
        write_misses: u64,
        /// Slots that the cache has.
        slots: u32,
        /// Blocks cached.
        cached: u32,
        /// Blocks whose last write is not on the origin disk.
        dirty: u32,
        /// How long ago the oldest write was acknowledged that is not on the origin disk.
        stale_ns: u64,
        /// Number of the last write such that it and all before are acknowledged.
        acknowledged: u64,
        /// Number of the last write that a flush made durable, with all before.
        flushed: u64,
    },
    /// Answer to `replay`.
    Replayed {
        /// Reads served from the vSSD.
        read_hits: u64,
        /// Reads served from the origin disk.
        read_misses: u64,
        /// Writes to blocks that were cached.
        write_hits: u64,
        /// Writes to blocks that were not.
        write_misses: u64,
        /// Accesses of these that went past the cache because they were sequential.
        bypassed: u64,
        /// Accesses of a trace to blocks that the origin disk, or the span, does not have.
        beyond: u64,
        /// Reads refused because the last write to the block was lost.
        lost: u64,
        /// Accesses that failed otherwise.
        errors: u64,
        /// Reads that returned something else than was written last.
        corrupt: u64,
        /// Number of the last write of this guest.
        acknowledged: u64,
        /// Number of the last write that a flush made durable, with all before.
        flushed: u64,
        /// From the first access to the last.
        elapsed_ns: u64,
        /// The longest that the origin disk was behind.
        stale_ns_max: u64,
        /// The most blocks by which it was behind.
        dirty_max: u32,
        /// Latencies of reads from the vSSD.
        hit_buckets: Vec<Bucket>,
        /// Latencies of reads from the origin disk.
        miss_buckets: Vec<Bucket>,
        /// Latencies of writes.
        write_buckets: Vec<Bucket>,
    },
    /// Part of the answer to `stamps`: the number of the write that each block is from.
    Stamps {
        /// The first block.
        first: u32,
        /// For each block from there on, its number.
        numbers: Vec<u64>,
    },
    /// The end of the answer to `stamps`.
    StampsRead {
        /// Blocks that were read.
        blocks: u32,
        /// Blocks that carry no stamp of their place; their numbers are the largest
        /// that there is.
        bad: u32,
        /// Blocks whose last write was lost; their numbers are the largest but one.
        lost: u32,
    },
    /// Answer to `write-back` and `close`.
    WrittenBack {
        /// Blocks written back.
        blocks: u64,
        /// Blocks that stay dirty because a disk failed.
        errors: u64,
    },
    /// Blocks were revoked whose last write was not on the origin disk; sent as it happens.
    DirtyLost {
        /// How many.
        blocks: u32,
        /// All that are lost and have not been written since.
        total: u32,
    },
    /// The list changed; sent as it happens.
    Resized {
        /// Blocks held.
        held: u32,
        /// Blocks given up in this step.
        surrendered: u32,
        /// Blocks granted in this step.
        granted: u32,
        /// Blocks revoked in this step.
        revoked: u32,
    },
}

impl Report {
    /// The line, without its newline.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("plain data always serializes")
    }

    /// The report in a line.
    ///
    /// # Errors
    /// When the line is none; the error says where.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// Milliseconds with two decimals, without floating point.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} ms", self.0 / 1_000_000, self.0 / 10_000 % 100)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready {
                version,
                disk,
                block_size,
                capacity,
                held,
                first_io_ns,
            } => write!(
                f,
                "vssd-guest {version} ready: {disk}, {capacity} blocks of {block_size} bytes, \
                 {held} held, first I/O after {}",
                Millis(*first_io_ns)
            ),
            Self::Done {
                command,
                elapsed_ns,
            } => write!(f, "done in {}: {command}", Millis(*elapsed_ns)),
            Self::Failed { command, reason } if command.is_empty() => write!(f, "failed: {reason}"),
            Self::Failed { command, reason } => write!(f, "failed: {command}: {reason}"),
            Self::Info {
                disk: DiskKind::Vssd,
                read_only: _,
                block_size,
                capacity,
                held,
                digest,
                surrendered,
                granted,
                revoked,
            } => write!(
                f,
                "vSSD: {held} of {capacity} blocks of {block_size} bytes held (digest \
                 {digest:016x}); since boot {surrendered} surrendered, {granted} granted, {revoked} \
                 revoked"
            ),
            Self::Info {
                disk,
                read_only,
                block_size,
                capacity,
                ..
            } => {
                let read_only = if *read_only { ", read-only" } else { "" };
                write!(
                    f,
                    "{disk}{read_only}: {capacity} blocks of {block_size} bytes"
                )
            }
            Self::Filled { blocks, errors } => {
                write!(f, "{blocks} blocks written, {errors} errors")
            }
            Self::Verified {
                ok,
                zeros,
                corrupt,
                errors,
                refused_by_driver,
                refused_by_device,
                unexpected,
                first_bad: _,
            } => write!(
                f,
                "{ok} blocks as written, {zeros} zeros, {corrupt} corrupt, {errors} read errors \
                 ({refused_by_driver} by the driver, {refused_by_device} by the device), \
                 {unexpected} unexpected"
            ),
            Self::Counts { counts } => write!(f, "counts of {} blocks", counts.len()),
            Self::Read {
                hits,
                misses,
                errors,
                elapsed_ns,
            } => write!(
                f,
                "{hits} hits, {misses} misses, {errors} errors in {}",
                Millis(*elapsed_ns)
            ),
            Self::Latency {
                phase,
                phase_ns,
                longest_stall_ns,
                buckets,
            } => write!(
                f,
                "{phase} for {}: {} requests, p50 {}, p99 {}, p99.9 {}, longest stall {}",
                Millis(*phase_ns),
                total(buckets),
                Millis(quantile_ns(buckets, 500)),
                Millis(quantile_ns(buckets, 990)),
                Millis(quantile_ns(buckets, 999)),
                Millis(*longest_stall_ns)
            ),
            Self::StressFault {
                block,
                wrong,
                expected,
                after_requests,
            } => {
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
            Self::Stressed {
                reads,
                writes,
                lost_race,
                errors,
                corrupt,
            } => write!(
                f,
                "{reads} reads, {writes} writes, {lost_race} lost to revocation, {errors} errors, \
                 {corrupt} corrupt"
            ),
            Self::CacheOpened {
                origin_blocks,
                slots,
                metadata_blocks,
                restored,
                restored_dirty,
                lost,
                memory_bytes_per_1000,
            } => write!(
                f,
                "cache of {slots} blocks ({metadata_blocks} more for its records, {}.{:03} bytes of \
                 memory each) in front of {origin_blocks}: {restored} restored, {restored_dirty} of \
                 them dirty, {lost} lost",
                memory_bytes_per_1000 / 1000,
                memory_bytes_per_1000 % 1000
            ),
            Self::CacheSample {
                accesses,
                read_hits,
                read_misses,
                write_hits,
                write_misses,
                cached,
                slots,
                dirty,
                stale_ns,
                ..
            } => write!(
                f,
                "after {accesses}: {read_hits} reads hit, {read_misses} missed, {write_hits} writes \
                 hit, {write_misses} missed; {cached} of {slots} slots used, {dirty} dirty, the \
                 origin {} behind",
                Millis(*stale_ns)
            ),
            Self::Replayed {
                read_hits,
                read_misses,
                write_hits,
                write_misses,
                bypassed,
                beyond,
                lost,
                errors,
                corrupt,
                elapsed_ns,
                hit_buckets,
                miss_buckets,
                write_buckets,
                ..
            } => write!(
                f,
                "{read_hits} reads hit (p50 {}), {read_misses} missed (p50 {}), {write_hits} writes \
                 hit, {write_misses} missed (p50 {}), {bypassed} bypassed, {beyond} beyond the disk, \
                 {lost} lost, {errors} errors, {corrupt} corrupt in {}",
                Millis(quantile_ns(hit_buckets, 500)),
                Millis(quantile_ns(miss_buckets, 500)),
                Millis(quantile_ns(write_buckets, 500)),
                Millis(*elapsed_ns)
            ),
            Self::Stamps { first, numbers } => {
                write!(f, "stamps of {} blocks from {first} on", numbers.len())
            }
            Self::StampsRead { blocks, bad, lost } => {
                write!(f, "{blocks} stamps read, {bad} bad, {lost} lost")
            }
            Self::WrittenBack { blocks, errors } => {
                write!(f, "{blocks} blocks written back, {errors} errors")
            }
            Self::DirtyLost { blocks, total } => write!(
                f,
                "{blocks} dirty blocks were revoked before they could be written back; {total} are \
                 lost and fail when read until they are written again"
            ),
            Self::Resized {
                held,
                surrendered,
                granted,
                revoked,
            } => write!(
                f,
                "resized to {held} blocks: {surrendered} surrendered, {granted} granted, \
                 {revoked} revoked"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn lines_come_back_as_they_were() {
        let reports = [
            Report::Counts {
                counts: vec![(1, 2, 3), (4, 0, 1)],
            },
            Report::Failed {
                command: "fill; \"x\"\n".into(),
                reason: "no".into(),
            },
            Report::StressFault {
                block: 3,
                wrong: Wrong::OtherData {
                    first_word: u64::MAX,
                    last_word: 0,
                },
                expected: None,
                after_requests: 7,
            },
            Report::Latency {
                phase: PhaseKind::Shrink,
                phase_ns: 5_000_000,
                longest_stall_ns: 7,
                buckets: vec![(120, 3), (256, 1)],
            },
        ];
        for report in reports {
            let line = report.to_line();
            assert!(!line.contains('\n'));
            assert_eq!(Report::from_line(&line).unwrap(), report);
        }
        assert!(Report::from_line("{\"report\":\"fly\"}").is_err());
    }
}
