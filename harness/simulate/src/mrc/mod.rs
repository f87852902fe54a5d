//! Miss-ratio curves: how often an LRU cache of each size would miss, from one
//! pass over the accesses.
//!
//! LRU caches are nested (Mattson, Gecsei, Slutz and Traiger, "Evaluation
//! techniques for storage hierarchies", IBM Systems Journal 9(2), 1970): an
//! access hits in exactly those that hold at least as many blocks as its *stack
//! distance*, the number of different blocks accessed since the block's last
//! access, itself included. So the distances of all accesses give the whole
//! [`Curve`].
//!
//! ```text
//!  blocks ─┬─ Exact:     every block ─────────────────┐
//!          ├─ FixedRate: blocks of small hash ────────┼─ StackDistances ─▶ histogram ─▶ Curve
//!          └─ FixedSize: the s blocks of least hash ──┘
//! ```
//!
//! - [`Exact`]: O(log n) an access, memory for every distinct block.
//! - [`FixedRate`], [`FixedSize`]: SHARDS (Waldspurger, Park, Garthwaite and
//!   Ahmad, "Efficient MRC construction with SHARDS", FAST'15). A hash of the
//!   block decides whether all of its accesses count or none; distances among
//!   those that count, divided by their share, estimate the others'.
//!
//! What an access is, a read or a write, does not matter here: both use a block.

mod curve;
mod distances;
mod exact;
mod fixed_rate;
mod fixed_size;
pub(crate) mod hash;
#[cfg(test)]
mod tests;

pub use curve::Curve;
pub use distances::StackDistances;
pub use exact::Exact;
pub use fixed_rate::{BadRate, FixedRate};
pub use fixed_size::{FixedSize, NoSample};
