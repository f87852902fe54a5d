//! Miss-ratio curves: the miss ratio of an LRU cache at every size, from one pass over the
//! accesses.
//!
//! LRU has the inclusion property (Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques
//! for storage hierarchies", IBM Systems Journal 9(2), 1970): an access hits exactly in the
//! caches of at least as many blocks as its *stack distance*, the number of distinct blocks
//! accessed since the last access to the block, itself included. So the distances of all
//! accesses give the whole [`Curve`].
//!
//! [`Sample`] is that of SHARDS (Waldspurger, Park, Garthwaite and Ahmad, "Efficient MRC construction
//! with SHARDS", FAST'15). A hash of the block decides whether all of its accesses are sampled or
//! none. Distances within the sample, divided by the sampling rate, estimate the real ones.
//! [`FixedSize`] gives the curve of all accesses, a [`DemandSampler`] that of each period.

mod bins;
mod curve;
mod demand;
mod distances;
mod fixed_size;
mod hash;
mod sample;

pub use curve::Curve;
pub use demand::{Demand, DemandSampler};
pub use distances::StackDistances;
pub use fixed_size::FixedSize;
pub use hash::rank;
pub use sample::{NoSample, Sample, Sampled};
