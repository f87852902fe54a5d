//! LIRS with the simulator's rule: a request for a cached HIR block that is not in
//! the stack makes the bottom of the stack HIR. With a queue of one this throws the
//! block itself out of the queue; the stack still says that it is cached.

use std::collections::HashMap;

use super::order::Order;

#[derive(Clone, Copy, PartialEq)]
enum Status {
    Low,
    High,
    Gone,
}

struct Lirs {
    high_capacity: usize,
    low_capacity: usize,
    stack: Order,
    statuses: HashMap<u32, Status>,
    queue: Order,
    /// What is in the stack and not cached, the first that went in front.
    gone: Order,
    low: usize,
}

impl Lirs {
    fn new(capacity: usize) -> Self {
        let high_capacity = (capacity / 100).max(1);
        Self {
            high_capacity,
            low_capacity: capacity - high_capacity,
            stack: Order::default(),
            statuses: HashMap::new(),
            queue: Order::default(),
            gone: Order::default(),
            low: 0,
        }
    }

    fn status(&self, block: u32) -> Option<Status> {
        self.statuses.get(&block).copied()
    }

    fn push(&mut self, block: u32, status: Status) {
        self.stack.put(block);
        self.statuses.insert(block, status);
    }

    /// Takes from the bottom of the stack what is not LIR, but for the last block.
    fn prune(&mut self) {
        while self.stack.len() > 1 {
            let bottom = self.stack.first().expect("two blocks");
            if self.status(bottom) == Some(Status::Low) {
                return;
            }
            self.stack.remove(bottom);
            self.statuses.remove(&bottom);
            self.gone.remove(bottom);
        }
    }

    /// Throws out the oldest of the queue.
    fn evict(&mut self) {
        let block = self.queue.take_first().expect("a HIR block");
        if let Some(status) = self.statuses.get_mut(&block) {
            *status = Status::Gone;
            self.gone.put(block);
        }
    }

    /// Makes blocks at the bottom of the stack HIR until a LIR place is free.
    fn free_low(&mut self) {
        while self.low >= self.low_capacity {
            let bottom = self.stack.take_first().expect("a LIR block");
            self.statuses.remove(&bottom);
            self.low -= 1;
            while self.queue.len() >= self.high_capacity {
                self.evict();
            }
            self.queue.put(bottom);
            self.prune();
        }
    }

    /// Whether the block hits.
    fn find(&mut self, block: u32) -> bool {
        match self.status(block) {
            Some(Status::Low) => {
                self.stack.put(block);
                self.prune();
            }
            Some(Status::High) => {
                self.stack.put(block);
                self.queue.remove(block);
                self.free_low();
                self.statuses.insert(block, Status::Low);
                self.low += 1;
            }
            None if self.queue.contains(block) => {
                self.queue.put(block);
                // The rule.
                self.free_low();
                self.push(block, Status::High);
            }
            Some(Status::Gone) | None => return false,
        }
        true
    }

    fn let_in(&mut self, block: u32) {
        if self.status(block).is_some() {
            self.stack.put(block);
            self.free_low();
            self.gone.remove(block);
            self.push(block, Status::Low);
            self.low += 1;
        } else if self.low < self.low_capacity {
            self.push(block, Status::Low);
            self.low += 1;
        } else {
            while self.queue.len() >= self.high_capacity {
                self.evict();
            }
            self.push(block, Status::High);
            self.queue.put(block);
        }
    }

    fn limit_stack(&mut self) {
        while self.stack.len() > 2 * (self.low_capacity + self.high_capacity) {
            let Some(block) = self.gone.take_first() else {
                return;
            };
            self.stack.remove(block);
            self.statuses.remove(&block);
        }
    }
}

/// How many of the requests miss.
pub fn misses(requests: &[u32], capacity: usize) -> u64 {
    let mut cache = Lirs::new(capacity);
    let mut misses = 0;
    for &block in requests {
        if !cache.find(block) {
            misses += 1;
            cache.let_in(block);
        }
        cache.limit_stack();
    }
    misses
}
