//! The policies once more, naively: what the papers say in vectors that are
//! searched from end to end.

mod arc;
mod lfu;
mod lirs;
mod queues;
mod s3_fifo;
mod two_q;
mod w_tiny_lfu;

use guest_cache::Policy;

/// A policy, by blocks.
pub trait Model {
    fn resize(&mut self, _capacity: usize) {}
    fn hit(&mut self, block: u32);
    fn missed(&mut self, _block: u32) {}
    fn prepare(&mut self, _block: u32) {}
    fn evict(&mut self, incoming: Option<u32>) -> u32;
    fn insert(&mut self, block: u32);
    fn remove(&mut self, block: u32);
}

/// The model of a policy, for a cache that may have `slots` slots.
pub fn model(policy: Policy, slots: u32) -> Box<dyn Model> {
    match policy {
        Policy::Fifo => Box::new(queues::Fifo::default()),
        Policy::Clock => Box::new(queues::Clock::default()),
        Policy::Lru => Box::new(queues::Lru::default()),
        Policy::Sieve => Box::new(queues::Sieve::default()),
        Policy::S3Fifo => Box::new(s3_fifo::S3Fifo::default()),
        Policy::Lfu => Box::new(lfu::Lfu::default()),
        Policy::TwoQ => Box::new(two_q::TwoQ::default()),
        Policy::Arc => Box::new(arc::Arc::default()),
        Policy::WTinyLfu => Box::new(w_tiny_lfu::WTinyLfu::new(slots)),
        Policy::Lirs => Box::new(lirs::Lirs::default()),
    }
}

/// Takes a block out of a vector that has it.
fn take(from: &mut Vec<u32>, block: u32) {
    let at = from.iter().position(|&other| other == block);
    from.remove(at.expect("the block"));
}

/// Remembers a block among up to `limit`: of more than there may be, two go for it.
fn remember(ghosts: &mut Vec<u32>, block: u32, limit: usize) {
    let surplus = (ghosts.len() + 1).saturating_sub(limit);
    ghosts.drain(..surplus.min(2).min(ghosts.len()));
    if limit > 0 {
        ghosts.push(block);
    }
}
