//! LFU: every block with its count and when it got it.

use std::collections::BTreeMap;

use super::Model;

#[derive(Default)]
pub struct Lfu {
    blocks: BTreeMap<u32, (u32, u64)>,
    time: u64,
}

impl Lfu {
    fn count(&mut self, block: u32) {
        self.time += 1;
        let entry = self.blocks.entry(block).or_default();
        *entry = (entry.0 + 1, self.time);
    }
}

impl Model for Lfu {
    fn hit(&mut self, block: u32) {
        self.count(block);
    }

    fn evict(&mut self, _incoming: Option<u32>) -> u32 {
        let least = self.blocks.iter().min_by_key(|entry| *entry.1);
        let block = *least.expect("a block").0;
        self.blocks.remove(&block);
        block
    }

    fn insert(&mut self, block: u32) {
        self.count(block);
    }

    fn remove(&mut self, block: u32) {
        self.blocks.remove(&block);
    }
}
