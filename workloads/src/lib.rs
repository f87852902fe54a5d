//! What an experiment asks a guest to run, and what the guest reports back.
//!
//! Both ends of the channel between harness and guest use these types: the
//! harness writes a [`Command`] as a line of text, which can also be typed by
//! hand; the guest answers with [`Report`]s, one JSON object a line. For a
//! terminal, a report displays as a sentence.
//!
//! - [`command`]: the commands and their text form
//! - [`report`]: what comes back
//! - [`pick`]: who picks the blocks of a shrink, and how
//! - [`pattern`]: which blocks a workload touches, from a seed
//! - [`content`]: what a block contains, from a seed
//! - [`stamp`]: what a block behind a cache contains, from a seed and the order of writes
//! - [`replay`]: which blocks a replay accesses, and how
//! - [`name`]: names of what other crates define
//! - [`latency`]: histograms of latencies
//! - [`trace_disk`]: a recorded trace as a disk that a guest replays
//! - `trace`: recorded block traces, read from files (feature `std`)
//!
//! Randomness is always made from a seed given in the command, so the same
//! command on the same device does the same again.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod access;
pub mod command;
pub mod content;
pub mod latency;
pub mod name;
pub mod pattern;
pub mod pick;
pub mod replay;
pub mod report;
pub mod stamp;
#[cfg(feature = "std")]
pub mod trace;
pub mod trace_disk;

pub use command::{Command, ParseError};
pub use content::Content;
pub use name::Name;
pub use pattern::{Pattern, Workload};
pub use pick::{GuestPick, HostPick, Pick};
pub use report::Report;
pub use stamp::Stamp;
