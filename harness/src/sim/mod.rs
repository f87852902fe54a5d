//! `harness sim`: a block cache on paper. The policies of the guest's cache see the
//! accesses of a trace or of a made-up workload, without a guest or a device, and what
//! comes out is how often they miss.
//!
//! ```text
//!  trace | workload ─▶ Input ─┬─ policy × size ─▶ misses ─┐
//!                             └─ mrc ────────────▶ curves ┴─▶ CSV, claims, figures, report
//! ```
//!
//! - [`input`]: the accesses, with blocks numbered in order of appearance
//! - [`size`]: cache sizes as people say them
//! - [`replay`]: each policy at each size
//! - [`curves`]: the miss-ratio curve of LRU, exact and sampled
//! - [`verdict`]: what must hold of all that
//! - [`cli`]: the command

pub mod cli;
pub mod figures;
pub mod verdict;
