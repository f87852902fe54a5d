//! W-TinyLFU: three vectors, the oldest first. Its counts are the crate's own
//! sketch, which has tests of its own.

use super::{Model, take};
use guest_cache::eviction::Sketch;

pub struct WTinyLfu {
    sketch: Sketch,
    capacity: usize,
    window: Vec<u32>,
    probation: Vec<u32>,
    protected: Vec<u32>,
}

impl WTinyLfu {
    pub fn new(slots: u32) -> Self {
        Self {
            sketch: Sketch::new(slots),
            capacity: 0,
            window: Vec::new(),
            probation: Vec::new(),
            protected: Vec::new(),
        }
    }

    fn window_capacity(&self) -> usize {
        (self.capacity / 100).max(1)
    }
}

impl Model for WTinyLfu {
    fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.sketch.resize(capacity as u32);
    }

    fn hit(&mut self, block: u32) {
        self.sketch.add(block);
        if self.window.contains(&block) {
            take(&mut self.window, block);
            self.window.push(block);
        } else if self.protected.contains(&block) {
            take(&mut self.protected, block);
            self.protected.push(block);
        } else {
            take(&mut self.probation, block);
            self.protected.push(block);
            let main = self.capacity.saturating_sub(self.window_capacity());
            while self.protected.len() > main * 4 / 5 {
                self.probation.push(self.protected.remove(0));
            }
        }
    }

    fn missed(&mut self, block: u32) {
        self.sketch.add(block);
    }

    fn evict(&mut self, incoming: Option<u32>) -> u32 {
        let window = self.window.len() + usize::from(incoming.is_some());
        let main = if self.probation.is_empty() {
            &mut self.protected
        } else {
            &mut self.probation
        };
        if main.is_empty() {
            return self.window.remove(0);
        }
        if window <= (self.capacity / 100).max(1) || self.window.is_empty() {
            return main.remove(0);
        }
        let candidate = self.window.remove(0);
        if self.sketch.count(candidate) <= self.sketch.count(main[0]) {
            return candidate;
        }
        let victim = main.remove(0);
        self.probation.push(candidate);
        victim
    }

    fn insert(&mut self, block: u32) {
        self.window.push(block);
        while self.window.len() > self.window_capacity() {
            self.probation.push(self.window.remove(0));
        }
    }

    fn remove(&mut self, block: u32) {
        self.window.retain(|&other| other != block);
        self.probation.retain(|&other| other != block);
        self.protected.retain(|&other| other != block);
    }
}
