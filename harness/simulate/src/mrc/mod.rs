//! Miss-ratio curves: the miss ratio of an LRU cache at every size, from one pass over the
//! accesses.
//!
//! LRU has the inclusion property (Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques
//! for storage hierarchies", IBM Systems Journal 9(2), 1970): an access hits exactly in the
//! caches of at least as many blocks as its *stack distance*, the number of distinct blocks
//! accessed since the last access to the block, itself included. So the distances of all
//! accesses give the whole [`Curve`].
//!
//! ```text
//!  blocks ─┬─ Exact:     every block ─────────────────┐
//!          ├─ FixedRate: blocks of small hash ────────┼─ StackDistances ─▶ histogram ─▶ Curve
//!          └─ FixedSize: the s blocks of least hash ──┘
//! ```
//!
//! - [`Exact`]: O(log n) per access, memory for every distinct block.
//! - [`FixedRate`], [`FixedSize`]: SHARDS (Waldspurger, Park, Garthwaite and Ahmad, "Efficient
//!   MRC construction with SHARDS", FAST'15). A hash of the block decides whether all of its
//!   accesses are sampled or none. Distances within the sample, divided by the sampling rate,
//!   estimate the real ones.
//!
//! Reads and writes are treated alike.

mod curve;
mod distances;
mod exact;
mod fixed_rate;
mod fixed_size;
mod hash;
#[cfg(test)]
mod tests;

pub use curve::Curve;
pub use distances::StackDistances;
pub use exact::Exact;
pub use fixed_rate::{BadRate, FixedRate};
pub use fixed_size::{FixedSize, NoSample};
