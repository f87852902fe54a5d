//! A disk for the tests of what is found after a crash.
//!
//! Its faults: what was written since the last flush may be on the medium or not
//! when the power goes, each sector of 512 bytes for itself; a transfer may fail
//! and leave the same behind; a block may be revoked, and is zeros when it is
//! granted again. Whole sectors are never mixed, and what was flushed stays.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use crate::device::{BLOCK_LEN, BlockDevice, IoError};

const SECTOR: usize = 512;

/// PCG32, as in `tests/common`.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u32 {
        let old = self.0;
        self.0 = old
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let folded = (((old >> 18) ^ old) >> 27) as u32;
        folded.rotate_right((old >> 59) as u32)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

/// Runs a future that never waits.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a transfer of this disk is never pending"),
    }
}

/// When the disk fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    Never,
    /// One write or flush, after so many that are well.
    After(u32),
    /// From then on everything: the power goes.
    CutAfter(u32),
}

pub struct CrashDisk {
    /// What is on the medium, and what is read.
    durable: RefCell<Vec<u8>>,
    seen: RefCell<Vec<u8>>,
    /// Sectors written since the last flush, in order, and what was written.
    written: RefCell<Vec<(usize, Vec<u8>)>>,
    held: RefCell<Vec<bool>>,
    pub fault: Cell<Fault>,
    rng: RefCell<Rng>,
}

impl CrashDisk {
    /// A disk of zeros, all of it held.
    pub fn new(blocks: u32, seed: u64) -> Self {
        let bytes = vec![0; blocks as usize * BLOCK_LEN];
        Self {
            durable: RefCell::new(bytes.clone()),
            seen: RefCell::new(bytes),
            written: RefCell::default(),
            held: RefCell::new(vec![true; blocks as usize]),
            fault: Cell::new(Fault::Never),
            rng: RefCell::new(Rng::new(seed)),
        }
    }

    /// The power is lost and comes back.
    pub fn cut(&self) {
        self.fault.set(Fault::Never);
        let mut rng = self.rng.borrow_mut();
        let mut durable = self.durable.borrow_mut();
        // All, none and everything between are as likely as it takes to see them.
        let percent = [0, 100, 50, 90, 97][rng.below(5) as usize];
        for (at, sector) in self.written.borrow_mut().drain(..) {
            if rng.chance(percent) {
                durable[at..at + SECTOR].copy_from_slice(&sector);
            }
        }
        self.seen.borrow_mut().copy_from_slice(&durable);
    }

    pub fn hold(&self, block: u32, is_held: bool) {
        let at = block as usize * BLOCK_LEN;
        self.held.borrow_mut()[block as usize] = is_held;
        self.durable.borrow_mut()[at..at + BLOCK_LEN].fill(0);
        self.seen.borrow_mut()[at..at + BLOCK_LEN].fill(0);
        let is_elsewhere = |&(of, _): &(usize, Vec<u8>)| of / BLOCK_LEN != block as usize;
        self.written.borrow_mut().retain(is_elsewhere);
    }

    pub fn is_held(&self, block: u32) -> bool {
        self.held.borrow()[block as usize]
    }

    /// What a read of a block gives.
    pub fn block(&self, block: u32) -> Vec<u8> {
        let at = block as usize * BLOCK_LEN;
        self.seen.borrow()[at..at + BLOCK_LEN].to_vec()
    }

    /// Whether this write or flush is well.
    fn succeeds(&self) -> bool {
        let (next, is_well) = match self.fault.get() {
            Fault::After(0) => (Fault::Never, false),
            Fault::After(more) => (Fault::After(more - 1), true),
            Fault::CutAfter(0) => (Fault::CutAfter(0), false),
            Fault::CutAfter(more) => (Fault::CutAfter(more - 1), true),
            Fault::Never => (Fault::Never, true),
        };
        self.fault.set(next);
        is_well
    }

    fn is_gone(&self, first: u32, bytes: usize) -> bool {
        let held = self.held.borrow();
        !held[first as usize..][..bytes / BLOCK_LEN]
            .iter()
            .all(|&is| is)
    }
}

impl BlockDevice for CrashDisk {
    fn blocks(&self) -> u32 {
        self.held.borrow().len() as u32
    }

    fn max_run(&self) -> u32 {
        5
    }

    async fn read(&self, first: u32, out: &mut [u8]) -> Result<(), IoError> {
        assert!(out.len() <= 5 * BLOCK_LEN);
        if self.is_gone(first, out.len()) {
            return Err(IoError::Gone);
        }
        out.copy_from_slice(&self.seen.borrow()[first as usize * BLOCK_LEN..][..out.len()]);
        Ok(())
    }

    async fn write(&self, first: u32, data: &[u8]) -> Result<(), IoError> {
        assert!(data.len() <= 5 * BLOCK_LEN && data.len().is_multiple_of(BLOCK_LEN));
        if self.is_gone(first, data.len()) {
            return Err(IoError::Gone);
        }
        let is_well = self.succeeds();
        let percent = if is_well {
            100
        } else {
            self.rng.borrow_mut().below(101)
        };
        let start = first as usize * BLOCK_LEN;
        for (at, sector) in (start..).step_by(SECTOR).zip(data.chunks(SECTOR)) {
            if is_well || self.rng.borrow_mut().chance(percent) {
                self.seen.borrow_mut()[at..at + SECTOR].copy_from_slice(sector);
                self.written.borrow_mut().push((at, sector.to_vec()));
            }
        }
        if is_well {
            Ok(())
        } else {
            Err(IoError::Failed)
        }
    }

    async fn flush(&self) -> Result<(), IoError> {
        if !self.succeeds() {
            return Err(IoError::Failed);
        }
        let mut durable = self.durable.borrow_mut();
        for (at, sector) in self.written.borrow_mut().drain(..) {
            durable[at..at + SECTOR].copy_from_slice(&sector);
        }
        Ok(())
    }
}
