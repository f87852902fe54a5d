//! Recovery of an origin disk without its vSSD: the cache's own code on a copy of the disk in
//! memory.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::slice;
use std::task::{Context as Task, Poll, Waker};

use anyhow::{Context, Result, bail, ensure};
use guest_cache::device::{BLOCK_LEN, BlockDevice, IoError};
use guest_cache::{BlockCache, Config, Policy, WritePolicy};
use terminal::interrupt;

/// Blocks of the empty vSSD that replaces the lost one.
const VSSD_BLOCKS: usize = 1024;

/// Polls between checks for an interrupt.
const STRIDE: u64 = 1 << 16;

/// Limit on polls: as everything is in memory, no real disk needs as many.
const POLLS_MAX: u64 = 1 << 32;

/// A disk in memory.
struct Memory(RefCell<Vec<u8>>);

impl Memory {
    fn at(&self, first: u32, len: usize) -> Option<std::ops::Range<usize>> {
        let start = first as usize * BLOCK_LEN;
        let end = start.checked_add(len)?;
        (end <= self.0.borrow().len()).then_some(start..end)
    }
}

impl BlockDevice for Memory {
    fn blocks(&self) -> u32 {
        (self.0.borrow().len() / BLOCK_LEN) as u32
    }

    fn max_run(&self) -> u32 {
        64
    }

    async fn read(&self, first: u32, out: &mut [u8]) -> Result<(), IoError> {
        let range = self.at(first, out.len()).ok_or(IoError::Failed)?;
        out.copy_from_slice(&self.0.borrow()[range]);
        Ok(())
    }

    async fn write(&self, first: u32, data: &[u8]) -> Result<(), IoError> {
        let range = self.at(first, data.len()).ok_or(IoError::Failed)?;
        self.0.borrow_mut()[range].copy_from_slice(data);
        Ok(())
    }

    async fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }
}

/// Runs a future that needs no wake-up from outside.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let mut future = pin!(future);
    let mut task = Task::from_waker(Waker::noop());
    for polls in 0..POLLS_MAX {
        if let Poll::Ready(done) = future.as_mut().poll(&mut task) {
            return Ok(done);
        }
        if polls.is_multiple_of(STRIDE) {
            interrupt::check()?;
        }
    }
    bail!("opening a cache in memory took more than {POLLS_MAX} polls")
}

/// The image of an origin disk after a cache was opened on it with an empty vSSD.
///
/// # Errors
/// If the cache cannot be opened.
pub(crate) fn without_vssd(image: Vec<u8>, write: WritePolicy) -> Result<Vec<u8>> {
    ensure!(
        image.len().is_multiple_of(BLOCK_LEN),
        "the image has {} bytes, which is not a multiple of the block size",
        image.len()
    );
    let origin = Memory(RefCell::new(image));
    let vssd = Memory(RefCell::new(vec![0; VSSD_BLOCKS * BLOCK_LEN]));
    let all = 0..vssd.blocks();
    let config = Config {
        fresh: true,
        ..Config::new(Policy::Lru, write)
    };
    let opened = block_on(BlockCache::open(
        &vssd,
        &origin,
        slice::from_ref(&all),
        config,
        || 0,
    ))?;
    let (cache, _) = opened.context("open a cache on the origin disk alone")?;
    drop(cache);
    Ok(origin.0.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_disk_without_a_journal_stays_as_it_is() {
        let mut image = vec![0; 8192 * BLOCK_LEN];
        for (at, byte) in image.iter_mut().take(4096 * BLOCK_LEN).enumerate() {
            *byte = (at / BLOCK_LEN) as u8;
        }
        let after = without_vssd(image.clone(), WritePolicy::WriteBack).unwrap();
        assert!(after == image);
        assert!(without_vssd(vec![0; 100], WritePolicy::WriteBack).is_err());
    }
}
