//! Virtio-blk requests, from a descriptor chain to a status byte (virtio 1.2, 5.2.6).
//!
//! - [`chain`]: guest buffers, checked to lie in guest memory
//! - [`parse`]: what a chain asks for
//! - [`queue`]: the requests under way of one vSSD, and what they wait for
//! - `slow`: what a medium cannot take as it came from the guest

pub mod chain;
pub mod parse;
pub mod queue;
mod slow;

pub use chain::{Buffers, Chain, MemoryGuard};
pub use parse::MAX_RANGES;
pub use queue::{RequestQueue, Turn};
