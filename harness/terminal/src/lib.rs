//! The terminal of a command: standard output, progress bars, signals.
#![forbid(unsafe_code)]

pub mod interrupt;
pub mod output;
pub mod progress;
