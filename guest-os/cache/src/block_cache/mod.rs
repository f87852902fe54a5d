//! The block cache over two disks.

mod api;

use alloc::vec::Vec;
use core::future::Future;
use core::ops::Range;

pub use api::{CacheError, Config, OpenError, Opened, Served, Stats, WrittenBack};

use crate::device::BlockDevice;

/// A cache of blocks of the disk `O` on the vSSD `S`.
pub struct BlockCache<S, O> {
    _ssd: S,
    origin: O,
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    /// Opens a cache on the blocks of the vSSD that the guest holds.
    ///
    /// # Errors
    /// When a disk fails, or is of no use.
    pub async fn open(
        ssd: S,
        origin: O,
        _held: &[Range<u32>],
        _config: Config,
        _now_ns: impl Fn() -> u64 + 'static,
    ) -> Result<(Self, Opened), OpenError> {
        let opened = Opened {
            origin_blocks: origin.blocks(),
            ..Opened::default()
        };
        Ok((Self { _ssd: ssd, origin }, opened))
    }

    /// Reads a block.
    pub fn read<'a>(
        &'a self,
        block: u32,
        out: &'a mut [u8],
    ) -> impl Future<Output = Result<Served, CacheError>> + 'a {
        async move {
            if block >= self.origin.blocks() {
                return Err(CacheError::Beyond);
            }
            let done = self.origin.read(block, out).await;
            done.map(|()| Served::Miss).map_err(|_| CacheError::Failed)
        }
    }

    /// Writes a block.
    pub fn write<'a>(
        &'a self,
        block: u32,
        data: &'a [u8],
    ) -> impl Future<Output = Result<Served, CacheError>> + 'a {
        async move {
            if block >= self.origin.blocks() {
                return Err(CacheError::Beyond);
            }
            let done = self.origin.write(block, data).await;
            done.map(|()| Served::Miss).map_err(|_| CacheError::Failed)
        }
    }

    /// Makes durable what was written before.
    ///
    /// # Errors
    /// When a disk failed it.
    pub async fn flush(&self) -> Result<(), CacheError> {
        let done = self.origin.flush().await;
        done.map_err(|_| CacheError::Failed)
    }

    /// Writes everything dirty back, and makes it durable on the origin disk.
    pub async fn write_back(&self) -> WrittenBack {
        WrittenBack::default()
    }

    /// Makes durable what the cache knows, so that the next one begins warm.
    pub async fn close(&self) -> WrittenBack {
        WrittenBack::default()
    }

    /// What goes on beside the requests. It never ends: poll it with them.
    pub async fn work(&self) {
        core::future::pending().await
    }

    /// The hypervisor wants so many blocks now, instead of what it wanted before.
    pub fn want(&self, _count: u32) {}

    /// Takes up to `max` blocks that can be given to the hypervisor.
    pub fn take_ready(&self, _max: u32) -> Vec<u32> {
        Vec::new()
    }

    /// How many blocks can be given to the hypervisor.
    pub fn ready(&self) -> u32 {
        0
    }

    /// The hypervisor has given blocks.
    pub fn granted(&self, _blocks: &[Range<u32>]) {}

    /// The hypervisor has taken blocks away. How many dirty ones are lost by it.
    pub fn revoked(&self, _blocks: &[Range<u32>]) -> u32 {
        0
    }

    /// Where the cache is, and what it has done.
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
