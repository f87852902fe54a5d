//! 2Q: three vectors, the oldest first.

use super::{Model, remember, take};

#[derive(Default)]
pub struct TwoQ {
    capacity: usize,
    a1_in: Vec<u32>,
    a1_out: Vec<u32>,
    am: Vec<u32>,
    remembered: bool,
}

impl Model for TwoQ {
    fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    fn hit(&mut self, block: u32) {
        if self.am.contains(&block) {
            take(&mut self.am, block);
            self.am.push(block);
        }
    }

    fn prepare(&mut self, block: u32) {
        self.remembered = self.a1_out.contains(&block);
        self.a1_out.retain(|&other| other != block);
    }

    fn evict(&mut self, incoming: Option<u32>) -> u32 {
        if self.a1_in.len() > self.capacity / 4 || self.am.is_empty() {
            let block = self.a1_in.remove(0);
            if incoming.is_some() {
                remember(&mut self.a1_out, block, self.capacity / 2);
            }
            return block;
        }
        self.am.remove(0)
    }

    fn insert(&mut self, block: u32) {
        if self.remembered {
            self.am.push(block);
        } else {
            self.a1_in.push(block);
        }
    }

    fn remove(&mut self, block: u32) {
        self.am.retain(|&other| other != block);
        self.a1_in.retain(|&other| other != block);
    }
}
