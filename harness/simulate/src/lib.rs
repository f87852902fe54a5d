//! Block traces, and caches on paper that see their accesses: no guest and no device.
//!
//! ```text
//!  trace | workload ─▶ Input ─┬─ policy × size ─▶ misses
//!                             └─ mrc ───────────▶ curves
//! ```
//!
//! - [`trace`]: reads recorded traces, and makes disks of them that guests replay
//! - [`input`]: the accesses, with blocks numbered in order of appearance
//! - [`size`]: cache sizes as people say them
//! - [`replay`]: each policy at each size
//! - [`mrc`], [`curves`]: the miss-ratio curve of LRU, exact and sampled
#![forbid(unsafe_code)]

pub mod curves;
pub mod input;
pub mod mrc;
pub mod replay;
pub mod size;
pub mod trace;
