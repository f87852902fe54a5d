//! Miss-ratio curves: the miss ratio of an LRU cache at every size, from one pass over the
//! accesses.
//!
//! What all of them share, and the sample of fixed size that a guest has too, is in
//! [`guest_cache::mrc`].
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

mod exact;
mod fixed_rate;
#[cfg(test)]
mod tests;

pub use exact::Exact;
pub use fixed_rate::{BadRate, FixedRate};
pub use guest_cache::mrc::{Curve, FixedSize, NoSample, StackDistances};
