//! ARC: four vectors, the oldest first, and the paper's cases.

use super::{Model, take};

#[derive(Default)]
pub struct Arc {
    capacity: usize,
    t1: Vec<u32>,
    t2: Vec<u32>,
    b1: Vec<u32>,
    b2: Vec<u32>,
    p: f64,
    in_b1: bool,
    in_b2: bool,
}

impl Arc {
    fn limit(&mut self) {
        for _ in 0..2 {
            let too_long = self.t1.len() + self.b1.len() > self.capacity;
            let too_many = self.b1.len() + self.b2.len() > self.capacity;
            if too_long && !self.b1.is_empty() || too_many && self.b2.is_empty() {
                self.b1.remove(0);
            } else if too_many {
                self.b2.remove(0);
            }
        }
    }
}

impl Model for Arc {
    fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.p = self.p.min(capacity as f64);
    }

    fn hit(&mut self, block: u32) {
        let from = if self.t1.contains(&block) {
            &mut self.t1
        } else {
            &mut self.t2
        };
        take(from, block);
        self.t2.push(block);
    }

    fn prepare(&mut self, block: u32) {
        self.in_b1 = self.b1.contains(&block);
        self.in_b2 = self.b2.contains(&block);
        let (b1, b2) = (self.b1.len() as f64, self.b2.len() as f64);
        if self.in_b1 {
            let step = if b1 >= b2 { 1.0 } else { b2 / b1 };
            self.p = (self.p + step).min(self.capacity as f64);
            take(&mut self.b1, block);
        } else if self.in_b2 {
            let step = if b2 >= b1 { 1.0 } else { b1 / b2 };
            self.p = (self.p - step).max(0.0);
            take(&mut self.b2, block);
        }
    }

    fn evict(&mut self, incoming: Option<u32>) -> u32 {
        let t1 = self.t1.len() as f64;
        let in_b2 = incoming.is_some() && self.in_b2;
        let from_t1 = !self.t1.is_empty() && (t1 > self.p || in_b2 && t1 == self.p);
        let (from, to) = if from_t1 || self.t2.is_empty() {
            (&mut self.t1, &mut self.b1)
        } else {
            (&mut self.t2, &mut self.b2)
        };
        let block = from.remove(0);
        if incoming.is_some() {
            to.push(block);
        }
        block
    }

    fn insert(&mut self, block: u32) {
        if self.in_b1 || self.in_b2 {
            self.t2.push(block);
        } else {
            self.t1.push(block);
        }
        self.limit();
    }

    fn remove(&mut self, block: u32) {
        self.t1.retain(|&other| other != block);
        self.t2.retain(|&other| other != block);
    }
}
