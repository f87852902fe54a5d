//! Blocks in the order in which they were last put in.

use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub struct Order {
    times: HashMap<u32, u64>,
    blocks: BTreeMap<u64, u32>,
    now: u64,
}

impl Order {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn contains(&self, block: u32) -> bool {
        self.times.contains_key(&block)
    }

    /// Puts a block last, from wherever it is.
    pub fn put(&mut self, block: u32) {
        self.remove(block);
        self.now += 1;
        self.times.insert(block, self.now);
        self.blocks.insert(self.now, block);
    }

    /// Whether the block was in.
    pub fn remove(&mut self, block: u32) -> bool {
        let time = self.times.remove(&block);
        time.is_some_and(|time| self.blocks.remove(&time).is_some())
    }

    pub fn first(&self) -> Option<u32> {
        self.blocks.first_key_value().map(|(_, &block)| block)
    }

    pub fn take_first(&mut self) -> Option<u32> {
        let (_, block) = self.blocks.pop_first()?;
        self.times.remove(&block);
        Some(block)
    }
}
