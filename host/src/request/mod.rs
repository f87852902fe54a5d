//! Virtio-blk requests, from a descriptor chain to a status byte (virtio 1.2, 5.2.6).
//!
//! - [`chain`]: guest buffers, checked to lie in guest memory
//! - [`parse`]: what a chain asks for
//! - [`queue`], `slot`: the requests under way of one vSSD, and what they wait for
//! - [`pass`]: admitting, advancing and completing them
//! - `ops`: what each kind of request does
//! - `slow`: what a backing cannot take as it came from the guest
//! - `zeros`: what goes around the part of a block that is written first

pub mod chain;
mod ops;
pub mod parse;
pub mod pass;
pub mod queue;
mod slot;
mod slow;
mod zeros;

pub use chain::{Buffers, Chain, MemoryGuard};
pub use parse::{MAX_RANGES, MAX_REQUEST};
pub use pass::Pass;
pub use queue::RequestQueue;
