//! The writes of this guest to the blocks behind its caches: their numbers, which of
//! them are acknowledged and durable, and which one each block is from.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use workloads::Stamp;

/// Blocks whose numbers are kept together, from the first write to one of them on: what
/// a workload never touches of a large disk takes no memory.
const PAGE: usize = 512;

/// The content of a block: 0 while it is unknown, else one more than the number of the write that
/// it is from.
type Known = u64;

/// See the module.
pub struct Writes {
    stamp: Stamp,
    issued: u64,
    /// Of every write from the oldest in flight on, whether it is over.
    over: VecDeque<bool>,
    /// The first write that failed: it is never acknowledged.
    failed: Option<u64>,
    flushed: u64,
    known: Vec<Option<Box<[Known; PAGE]>>>,
}

/// A read that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    block: u32,
    before: Known,
}

impl Default for Writes {
    fn default() -> Self {
        Self {
            stamp: Stamp::of_guests(),
            issued: 0,
            over: VecDeque::new(),
            failed: None,
            flushed: 0,
            known: Vec::new(),
        }
    }
}

impl Writes {
    /// Issues the next write, and fills `bytes` with what it leaves in the block.
    pub fn issue(&mut self, block: u32, bytes: &mut [u8]) -> u64 {
        self.issued += 1;
        self.over.push_back(false);
        *self.known_mut(block) = self.issued + 1;
        self.stamp.fill(block, self.issued, bytes);
        self.issued
    }

    /// The block is discarded: it may be from any write until the next one.
    pub fn discard(&mut self, block: u32) {
        // What was never written takes no memory.
        if self.known(block) != 0 {
            *self.known_mut(block) = 0;
        }
    }

    /// A write to the block has ended.
    pub fn end(&mut self, block: u32, number: u64, succeeded: bool) {
        if !succeeded {
            self.failed = Some(self.failed.map_or(number, |first| first.min(number)));
            // The old content or the new one.
            *self.known_mut(block) = 0;
        }
        let first = self.issued + 1 - self.over.len() as u64;
        self.over[(number - first) as usize] = true;
        while self.over.front() == Some(&true) {
            self.over.pop_front();
        }
    }

    /// The largest number such that all writes up to it are acknowledged.
    pub fn acknowledged(&self) -> u64 {
        let over = self.issued - self.over.len() as u64;
        self.failed.map_or(over, |failed| over.min(failed - 1))
    }

    /// The largest number such that all writes up to it are durable.
    pub fn flushed(&self) -> u64 {
        self.flushed
    }

    /// A flush has succeeded that began when so many writes were acknowledged.
    pub fn flush_succeeded(&mut self, acknowledged: u64) {
        self.flushed = self.flushed.max(acknowledged);
    }

    /// A read of the block begins.
    pub fn begin_read(&self, block: u32) -> Reading {
        Reading {
            block,
            before: self.known(block),
        }
    }

    /// Whether the read may return this content: the last write issued to the block before it or,
    /// as the two are concurrent, one since. A block that this guest never wrote may be from any
    /// write, but from the same one every time.
    pub fn check(&mut self, reading: Reading, bytes: &[u8]) -> bool {
        let Reading { block, before } = reading;
        let Ok(number) = self.stamp.read(block, bytes) else {
            return false;
        };
        let now = self.known(block);
        match (before, now) {
            (0, 0) => {
                *self.known_mut(block) = number + 1;
                true
            }
            (0, _) | (_, 0) => true,
            _ => (before..=now).contains(&(number + 1)),
        }
    }

    /// The number of the write that a block is from; `None` of none.
    pub fn number(&self, block: u32, bytes: &[u8]) -> Option<u64> {
        self.stamp.read(block, bytes).ok()
    }

    fn known(&self, block: u32) -> Known {
        let page = self.known.get(block as usize / PAGE);
        page.and_then(Option::as_ref)
            .map_or(0, |page| page[block as usize % PAGE])
    }

    fn known_mut(&mut self, block: u32) -> &mut Known {
        let place = block as usize / PAGE;
        if self.known.len() <= place {
            self.known.resize_with(place + 1, || None);
        }
        let page = self.known[place].get_or_insert_with(|| Box::new([0; PAGE]));
        &mut page[block as usize % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_has_no_gap() {
        let mut writes = Writes::default();
        let mut bytes = [0; 4096];
        for number in 1..=4 {
            assert_eq!(writes.issue(number as u32, &mut bytes), number);
        }
        writes.end(3, 3, true);
        assert_eq!(writes.acknowledged(), 0);
        writes.end(1, 1, true);
        assert_eq!(writes.acknowledged(), 1);
        writes.end(2, 2, true);
        assert_eq!(writes.acknowledged(), 3);
        writes.flush_succeeded(3);
        writes.end(4, 4, false);
        assert_eq!(writes.issue(5, &mut bytes), 5);
        writes.end(5, 5, true);
        assert_eq!((writes.acknowledged(), writes.flushed()), (3, 3));
    }

    #[test]
    fn a_read_finds_the_last_write_or_one_that_it_overlaps() {
        let mut writes = Writes::default();
        let mut contents = [[0; 4096]; 3];
        writes.issue(9, &mut contents[0]);
        writes.issue(9, &mut contents[1]);
        let reading = writes.begin_read(9);
        assert!(!writes.check(reading, &contents[0]), "that is stale");
        assert!(writes.check(reading, &contents[1]));
        writes.issue(9, &mut contents[2]);
        assert!(writes.check(reading, &contents[1]));
        assert!(writes.check(reading, &contents[2]));
        assert!(!writes.check(writes.begin_read(9), &contents[1]));
        assert!(!writes.check(writes.begin_read(9), &[0; 4096]));
    }

    #[test]
    fn an_unknown_block_is_from_the_same_write_every_time() {
        let mut earlier = Writes::default();
        let (mut old, mut new) = ([0; 4096], [0; 4096]);
        earlier.issue(7, &mut old);
        earlier.issue(7, &mut new);
        let mut writes = Writes::default();
        assert!(!writes.check(writes.begin_read(8), &old), "of block 7");
        assert!(writes.check(writes.begin_read(7), &old));
        assert!(!writes.check(writes.begin_read(7), &new));
        assert!(writes.check(writes.begin_read(8), &[0; 4096]));
        assert!(!writes.check(writes.begin_read(8), &new));
    }
}
