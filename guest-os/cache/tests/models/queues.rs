//! FIFO, CLOCK, LRU and SIEVE: one vector each, the oldest first.

use super::{Model, take};

#[derive(Default)]
pub struct Fifo(Vec<u32>);

impl Model for Fifo {
    fn hit(&mut self, _block: u32) {}

    fn evict(&mut self, _incoming: Option<u32>) -> u32 {
        self.0.remove(0)
    }

    fn insert(&mut self, block: u32) {
        self.0.push(block);
    }

    fn remove(&mut self, block: u32) {
        take(&mut self.0, block);
    }
}

#[derive(Default)]
pub struct Lru(Vec<u32>);

impl Model for Lru {
    fn hit(&mut self, block: u32) {
        take(&mut self.0, block);
        self.0.push(block);
    }

    fn evict(&mut self, _incoming: Option<u32>) -> u32 {
        self.0.remove(0)
    }

    fn insert(&mut self, block: u32) {
        self.0.push(block);
    }

    fn remove(&mut self, block: u32) {
        take(&mut self.0, block);
    }
}

#[derive(Default)]
pub struct Clock(Vec<(u32, bool)>);

impl Model for Clock {
    fn hit(&mut self, block: u32) {
        let entry = self.0.iter_mut().find(|entry| entry.0 == block);
        entry.expect("the block").1 = true;
    }

    fn evict(&mut self, _incoming: Option<u32>) -> u32 {
        loop {
            match self.0.remove(0) {
                (block, true) => self.0.push((block, false)),
                (block, false) => return block,
            }
        }
    }

    fn insert(&mut self, block: u32) {
        self.0.push((block, false));
    }

    fn remove(&mut self, block: u32) {
        self.0.retain(|entry| entry.0 != block);
    }
}

/// The queue, and where in it the hand is.
#[derive(Default)]
pub struct Sieve(Vec<(u32, bool)>, usize);

impl Model for Sieve {
    fn hit(&mut self, block: u32) {
        let entry = self.0.iter_mut().find(|entry| entry.0 == block);
        entry.expect("the block").1 = true;
    }

    fn evict(&mut self, _incoming: Option<u32>) -> u32 {
        loop {
            let at = self.1;
            if self.0[at].1 {
                self.0[at].1 = false;
                self.1 = (at + 1) % self.0.len();
                continue;
            }
            let (block, _) = self.0.remove(at);
            if self.1 == self.0.len() {
                self.1 = 0;
            }
            return block;
        }
    }

    fn insert(&mut self, block: u32) {
        self.0.push((block, false));
    }

    fn remove(&mut self, block: u32) {
        let at = self.0.iter().position(|entry| entry.0 == block);
        let at = at.expect("the block");
        self.0.remove(at);
        if at < self.1 {
            self.1 -= 1;
        }
        if self.1 == self.0.len() {
            self.1 = 0;
        }
    }
}
