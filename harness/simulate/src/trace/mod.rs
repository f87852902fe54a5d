//! Recorded block traces, for guests and for the simulator.
//!
//! ```text
//!            options        pass                 ┌▶ image ─▶ third disk of a guest
//!  file ──▶ (what to do) ──▶ (each request) ─────┼▶ sim::input ─▶ policies
//!                            Summary             └▶ info
//! ```
//!
//! Whoever wants the accesses of a trace makes a [`pass()`] over it, so all of them see the
//! same ones, or the same error. A pass streams: its memory does not depend on the trace.
//!
//! - [`options`]: what a person says about a trace
//! - [`advice`]: which of these options take a trace that was refused, with numbers from a
//!   [`survey`] of it
//! - [`pass`]: one reading of it, and what it added up to
//! - [`distinct`]: how many different blocks there are
//! - [`image`]: the disk that a guest replays
//! - [`info`]: what is in a trace

pub mod advice;
pub mod distinct;
pub mod image;
pub mod info;
pub mod options;
pub mod pass;
pub mod survey;

pub use image::trace_image;
pub use pass::{Summary, pass};
