//! What fuzz targets share: a naive record of ownership, and disks in memory.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use guest_cache::device::{BLOCK_LEN, BlockDevice, IoError};
use vssd::device::Ownership;
use vssd::encoding::SetView;

/// The owner of each block: `true` the guest.
pub struct Ledger(pub Vec<bool>);

impl Ledger {
    fn change(&mut self, blocks: &SetView<'_>, to_guest: bool) {
        for block in blocks.runs().flat_map(|run| run.start..run.end()) {
            let owner = &mut self.0[block as usize];
            assert_ne!(*owner, to_guest, "block {block} changes to its owner");
            *owner = to_guest;
        }
    }
}

impl Ownership for Ledger {
    type Error = std::convert::Infallible;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.change(blocks, false);
        Ok(())
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.change(blocks, true);
        Ok(())
    }
}

/// A disk of the cache, whose transfers end at once.
pub struct Disk(RefCell<Vec<u8>>);

impl Disk {
    /// A disk of this many blocks that begins with `bytes`.
    pub fn new(blocks: u32, bytes: &[u8]) -> Self {
        let mut all = vec![0; blocks as usize * BLOCK_LEN];
        let len = bytes.len().min(all.len());
        all[..len].copy_from_slice(&bytes[..len]);
        Self(RefCell::new(all))
    }
}

impl BlockDevice for Disk {
    fn blocks(&self) -> u32 {
        (self.0.borrow().len() / BLOCK_LEN) as u32
    }

    fn max_run(&self) -> u32 {
        8
    }

    async fn read(&self, first: u32, out: &mut [u8]) -> Result<(), IoError> {
        let at = first as usize * BLOCK_LEN;
        out.copy_from_slice(&self.0.borrow()[at..at + out.len()]);
        Ok(())
    }

    async fn write(&self, first: u32, data: &[u8]) -> Result<(), IoError> {
        let at = first as usize * BLOCK_LEN;
        self.0.borrow_mut()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }

    async fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }
}

/// The output of a future that waits for nothing.
pub fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}
