//! Block traces and simulated caches, without guests and devices.
//!
//! ```text
//!  trace | workload ─▶ Input ─┬─ policy × size ─▶ misses
//!                             └─ mrc ───────────▶ curves
//! ```
//!
//! - [`trace`]: reads recorded traces and converts them to trace disks, which guests replay
//! - [`input`]: the accesses, with blocks numbered in order of appearance
//! - [`size`]: parses cache sizes
//! - [`replay`]: simulates each policy at each size
//! - [`mrc`], [`curves`]: the miss-ratio curve of LRU, exact and sampled
#![forbid(unsafe_code)]

pub mod curves;
pub mod input;
pub mod mrc;
pub mod replay;
pub mod size;
pub mod trace;
