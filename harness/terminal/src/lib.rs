//! The terminal of a command: standard output, progress bars, signals, and jobs under a bar
//! until a signal.
#![forbid(unsafe_code)]

pub mod interrupt;
pub mod output;
pub mod parallel;
pub mod progress;
