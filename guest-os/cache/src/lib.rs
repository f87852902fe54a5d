//! The guest's block cache: which block of the origin disk is in which slot of the vSSD, and which
//! block is evicted when space is needed.
//!
//! A block is 4 KiB of the slow origin disk, named by a `u32`. A slot is a block
//! of the vSSD; the hypervisor may take any slot away and give it back later, so
//! that the slots in use are an arbitrary subset of `0..N`. The policies and
//! tables neither move data nor know a device: their caller carries out what they decide.
//!
//! - [`cache`]: the slots and the requests, the same for every policy
//! - [`eviction`]: the policies, one a file, and their names
//! - [`device`]: disks, as the cache uses them
//! - [`metadata`]: what is in which slot, on the vSSD
//! - [`origin_journal`]: the write-ahead journal on the origin disk
//! - [`mrc`]: how often a cache of each size would miss
//! - [`table`]: block to slot and back, and the lists that policies keep, in
//!   12 bytes a slot and a word a hash bucket
//! - [`block_cache`]: requests for blocks, served from the vSSD or the origin disk
//! - [`page_cache`]: pages of memory above it
//! - [`write_policy`]: where a written block goes, and when it reaches the origin
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block_cache;
pub mod cache;
#[cfg(test)]
mod crash_disk;
pub mod device;
pub mod eviction;
pub mod metadata;
pub mod mrc;
pub mod origin_journal;
pub mod page_cache;
mod permutation;
pub mod table;
pub mod write_policy;

pub use block_cache::{
    Advice, BlockCache, CacheError, Config, OpenError, Opened, Served, Stats, TooManyRanges,
    WrittenBack,
};
pub use cache::{Admission, Cache, Cached, Revoked};
pub use eviction::{AnyCache, Eviction, Policy};
pub use page_cache::{PageCache, Share, Tier};
pub use write_policy::WritePolicy;
