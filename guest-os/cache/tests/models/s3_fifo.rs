//! S3-FIFO: three vectors, the oldest first.

use super::{Model, remember};

#[derive(Default)]
pub struct S3Fifo {
    capacity: usize,
    small: Vec<(u32, u32)>,
    main: Vec<(u32, u32)>,
    ghosts: Vec<u32>,
    filled: bool,
    remembered: bool,
}

impl S3Fifo {
    fn small_capacity(&self) -> usize {
        (self.capacity / 10).max(1)
    }
}

impl Model for S3Fifo {
    fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    fn hit(&mut self, block: u32) {
        let mut both = self.small.iter_mut().chain(&mut self.main);
        let entry = both.find(|entry| entry.0 == block).expect("the block");
        entry.1 = (entry.1 + 1).min(3);
    }

    fn prepare(&mut self, block: u32) {
        self.remembered = self.ghosts.contains(&block);
        self.ghosts.retain(|&other| other != block);
    }

    fn evict(&mut self, incoming: Option<u32>) -> u32 {
        self.filled = true;
        loop {
            let room = self.capacity - self.small_capacity();
            if self.main.len() > room || self.small.is_empty() {
                match self.main.remove(0) {
                    (block, 0) => return block,
                    (block, count) => self.main.push((block, count - 1)),
                }
                continue;
            }
            while !self.small.is_empty() {
                let (block, count) = self.small.remove(0);
                if count >= 2 {
                    self.main.push((block, 0));
                    continue;
                }
                if incoming.is_some() {
                    remember(&mut self.ghosts, block, self.capacity * 9 / 10);
                }
                return block;
            }
        }
    }

    fn insert(&mut self, block: u32) {
        let is_small_full = self.small.len() >= self.small_capacity();
        if self.remembered || !self.filled && is_small_full {
            self.main.push((block, 0));
        } else {
            self.small.push((block, 0));
        }
    }

    fn remove(&mut self, block: u32) {
        self.small.retain(|entry| entry.0 != block);
        self.main.retain(|entry| entry.0 != block);
    }
}
