//! Options, results and errors of a [`BlockCache`](super::BlockCache).

use core::fmt;

use crate::cache::MAX_SLOTS;
use crate::device::IoError;
use crate::eviction::Policy;
use crate::metadata;
use crate::origin_journal;
use crate::write_policy::WritePolicy;

/// How a cache works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The eviction policy.
    pub eviction: Policy,
    /// Where a written block goes.
    pub write: WritePolicy,
    /// Requests to a block before it is admitted, within recent memory; 0 and 1 let
    /// every one in.
    pub promote: u8,
    /// Blocks of a sequential run from which on the rest is not admitted; 0 for never.
    pub bypass_blocks: u32,
    /// Dirty blocks in a hundred slots from which on they are written back.
    pub dirty_percent: u8,
    /// At a shrink, keep dirty blocks back like those that the application needs.
    pub clean_first: bool,
    /// Forget what an earlier cache left. What was dirty in it is lost.
    pub fresh: bool,
    /// Blocks whose accesses are sampled to report the [demand](super::BlockCache::take_demand);
    /// 0 for none.
    pub demand_sample: u32,
}

impl Config {
    /// The given policies, and everything else as it is best for most: every block is
    /// admitted, at most a fifth of the slots is dirty, and an existing cache is reopened.
    pub const fn new(eviction: Policy, write: WritePolicy) -> Self {
        Self {
            eviction,
            write,
            promote: 1,
            bypass_blocks: 0,
            dirty_percent: 20,
            clean_first: false,
            fresh: false,
            demand_sample: 0,
        }
    }
}

/// The state of a cache that was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Slots that it has for data.
    pub slots: u32,
    /// Blocks of the vSSD that it has for its metadata.
    pub metadata_blocks: u32,
    /// Blocks of the origin disk that may be used.
    pub origin_blocks: u32,
    /// Blocks that were found cached.
    pub restored: u32,
    /// Of these, dirty ones.
    pub restored_dirty: u32,
    /// Blocks whose last write is lost, now or before.
    pub lost: u32,
    /// There were records, but too many of them are gone: blocks that they called dirty, if any,
    /// are lost, and their numbers are unknown.
    pub is_broken: bool,
}

/// Why a cache could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The origin disk has no block to use.
    OriginTooSmall {
        /// How many it has.
        blocks: u32,
        /// How many a cache of this write policy keeps for itself.
        reserved: u32,
    },
    /// The vSSD is larger than a cache can be.
    VssdTooLarge {
        /// How many blocks it has.
        blocks: u32,
    },
    /// The vSSD holds a cache of another version of the metadata.
    VssdVersion {
        /// Its version.
        version: u16,
    },
    /// The origin disk has a journal of another version.
    OriginVersion {
        /// Its version.
        version: u16,
    },
    /// The origin disk failed.
    Origin(IoError),
    /// The vSSD failed.
    Vssd(IoError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OriginTooSmall { blocks, reserved } => write!(
                f,
                "open a cache: the origin disk has {blocks} blocks, of which {reserved} are reserved"
            ),
            Self::VssdTooLarge { blocks } => {
                write!(
                    f,
                    "open a cache: the vSSD has {blocks} blocks, the maximum is {MAX_SLOTS}"
                )
            }
            Self::VssdVersion { version } => write!(
                f,
                "open a cache: the vSSD holds a cache of format {version}, and this guest reads \
                 format {}: `close` it with the release that wrote it, then open it here with \
                 fresh=true (without that, writes that are on the vSSD only are lost)",
                metadata::VERSION
            ),
            Self::OriginVersion { version } => write!(
                f,
                "open a cache: the origin disk has a journal of format {version}, and this guest \
                 reads format {}: open a cache once with the release that wrote it and \
                 write=write-through, which applies and empties the journal",
                origin_journal::VERSION
            ),
            Self::Origin(error) => write!(f, "open a cache: origin disk: {error}"),
            Self::Vssd(error) => write!(f, "open a cache: vSSD: {error}"),
        }
    }
}

impl core::error::Error for OpenError {}

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheError {
    /// A disk failed, and no other had the data.
    Failed,
    /// The last write to the block was on the vSSD only and is lost with its slot. A new write to
    /// the block repairs it.
    Lost,
    /// The origin disk has no such block.
    Beyond,
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "a disk failed the request",
            Self::Lost => "the last write to the block is lost",
            Self::Beyond => "the block is beyond the end of the origin disk",
        })
    }
}

impl core::error::Error for CacheError {}

/// How a request was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The block was cached.
    Hit,
    /// It was not.
    Miss,
    /// It was not, and was not admitted because it continues a sequential run.
    Bypassed,
}

/// The result of writing back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenBack {
    /// Blocks written back.
    pub blocks: u64,
    /// Blocks that stay dirty because a disk failed.
    pub errors: u64,
}

/// Where a cache is, and what it has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Slots that it has for data.
    pub slots: u32,
    /// Blocks of the vSSD that it has for its metadata.
    pub metadata_blocks: u32,
    /// Whether they do not suffice to record what the cache knows. Until they do a
    /// crash may bring back a clean block as it was before its last writes, until it is
    /// evicted, unless these were flushed; and what was lost may be forgotten.
    pub is_unrecorded: bool,
    /// Blocks cached.
    pub cached: u32,
    /// Versions of blocks whose write is not on the origin disk.
    pub dirty: u32,
    /// For how long the oldest of them has been there.
    pub stale_ns: u64,
    /// Blocks whose last write is lost.
    pub lost: u32,
    /// Reads of cached blocks.
    pub read_hits: u64,
    /// Reads of others.
    pub read_misses: u64,
    /// Writes of cached blocks.
    pub write_hits: u64,
    /// Writes of others.
    pub write_misses: u64,
    /// Requests of the misses that were not admitted because they were sequential.
    pub bypassed: u64,
    /// Blocks written back to the origin disk.
    pub written_back: u64,
    /// Blocks of metadata written.
    pub metadata_writes: u64,
    /// Commits of metadata.
    pub commits: u64,
    /// Blocks of data read from the origin disk.
    pub origin_reads: u64,
    /// Blocks of data written to the origin disk, beside those of its journal.
    pub origin_writes: u64,
    /// Transfers that the vSSD failed or had no block for.
    pub vssd_errors: u64,
    /// Transfers that the origin disk failed.
    pub origin_errors: u64,
}
