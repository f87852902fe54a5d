//! Virtio-blk requests, from a descriptor chain to a status byte (virtio 1.2, 5.2.6).
//!
//! - [`chain`]: guest buffers, checked to lie in guest memory
//! - [`parse`]: from the bytes of a chain to a request
//! - [`queue`], `slot`: the requests under way of one vSSD, and their states
//! - `admission`: what is checked before a request may start
//! - [`pass`]: advancing and completing them
//! - `ops`: the operations of each kind of request
//! - `slow`: requests that a backing cannot take as they came from the guest
//! - `bounce`: the buffer through which they go
//! - `zeros`: zeros to write, as the data of a request or around them

mod admission;
mod bounce;
pub mod chain;
mod ops;
pub mod parse;
pub mod pass;
pub mod queue;
mod slot;
mod slow;
mod zeros;

pub use chain::{Buffers, Chain, MemoryGuard, Origin};
pub use parse::{MAX_RANGES, MAX_REQUEST};
pub use pass::Pass;
pub use queue::RequestQueue;
