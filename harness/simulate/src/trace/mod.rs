//! Recorded block traces, for guests and for the simulator.
//!
//! ```text
//!            options        pass                 ┌▶ image ─▶ third disk of a guest
//!  file ──▶ (how to read) ─▶ (each request) ─────┼▶ input ─▶ policies
//!                            Summary             └▶ info
//! ```
//!
//! All consumers read a trace with a [`pass()`], so that all see the same accesses, or the same
//! error. A pass streams: its memory does not depend on the trace.
//!
//! - [`options`]: the command-line options for reading a trace
//! - [`advice`]: the options that accept a rejected trace, with values from a [`survey`] of it
//! - [`pass`]: one pass over a trace, and its totals
//! - [`distinct`]: the number of distinct blocks
//! - [`image`]: the disk that a guest replays
//! - [`info`]: the description of a trace

pub mod advice;
pub mod distinct;
pub mod image;
pub mod info;
pub mod options;
pub mod pass;
pub mod survey;

pub use image::trace_image;
pub use pass::{Summary, pass};
