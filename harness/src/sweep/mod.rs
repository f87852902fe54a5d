//! Sweeps: the eviction experiment over ranges of its parameters.

pub mod table;
