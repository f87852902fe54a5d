//! LIRS: the stack with the status of each block, and the queue, the oldest first.

use super::{Model, take};

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Low,
    High,
    /// With when it went.
    Gone(u32),
}

#[derive(Default)]
pub struct Lirs {
    capacity: usize,
    stack: Vec<(u32, Status)>,
    queue: Vec<u32>,
    remembered: bool,
    gone: u32,
}

impl Lirs {
    fn low(&self) -> usize {
        let is_low = |entry: &&(u32, Status)| entry.1 == Status::Low;
        self.stack.iter().filter(is_low).count()
    }

    fn low_capacity(&self) -> usize {
        self.capacity.saturating_sub((self.capacity / 100).max(1))
    }

    fn prune(&mut self) {
        while self
            .stack
            .first()
            .is_some_and(|entry| entry.1 != Status::Low)
        {
            self.stack.remove(0);
        }
    }

    fn demote(&mut self) {
        let (block, status) = self.stack.remove(0);
        assert!(status == Status::Low);
        self.queue.push(block);
        self.prune();
    }

    fn take(&mut self, block: u32) -> Option<Status> {
        let at = self.stack.iter().position(|entry| entry.0 == block)?;
        Some(self.stack.remove(at).1)
    }

    fn push_low(&mut self, block: u32) {
        self.stack.push((block, Status::Low));
        while self.low() > self.low_capacity() {
            self.demote();
        }
    }

    fn limit(&mut self) {
        for _ in 0..2 {
            let gone = self
                .stack
                .iter()
                .filter_map(|&(block, status)| match status {
                    Status::Gone(when) => Some((when, block)),
                    _ => None,
                });
            let is_short = gone.clone().count() <= 2 * self.capacity - self.low_capacity();
            if is_short && self.stack.len() <= 2 * self.capacity {
                return;
            }
            let Some((_, first)) = gone.min() else {
                return;
            };
            self.take(first);
        }
    }
}

impl Model for Lirs {
    fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    fn hit(&mut self, block: u32) {
        match self.take(block) {
            Some(Status::Low) => self.stack.push((block, Status::Low)),
            Some(Status::High) => {
                take(&mut self.queue, block);
                self.push_low(block);
            }
            Some(Status::Gone(_)) => panic!("hit a block that went"),
            None => {
                take(&mut self.queue, block);
                self.queue.push(block);
                self.stack.push((block, Status::High));
                self.prune();
                self.limit();
            }
        }
        self.prune();
    }

    fn prepare(&mut self, block: u32) {
        self.remembered = self.take(block).is_some();
    }

    fn evict(&mut self, incoming: Option<u32>) -> u32 {
        if self.queue.is_empty() {
            self.demote();
        }
        let block = self.queue.remove(0);
        if let Some(at) = self.stack.iter().position(|entry| entry.0 == block) {
            self.gone += 1;
            self.stack[at].1 = Status::Gone(self.gone);
            if incoming.is_none() {
                self.stack.remove(at);
            }
        }
        block
    }

    fn insert(&mut self, block: u32) {
        if self.remembered || self.low() < self.low_capacity() {
            self.push_low(block);
        } else {
            self.queue.push(block);
            self.stack.push((block, Status::High));
        }
        self.prune();
        self.limit();
    }

    fn remove(&mut self, block: u32) {
        self.queue.retain(|&other| other != block);
        self.take(block);
        self.prune();
    }
}
