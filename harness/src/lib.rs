//! The experiment harness: runs experiments in a lab, records what they measure, and
//! reports what that shows.
//!
//! ```text
//!  cli ─┬─ experiments ── lab (guests, backends, twins), simulate (traces, caches on paper)
//!       ├─ sweep            │ rows
//!       └─ report ◀─ results: folder ── verdict, figures, report
//! ```
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod doctor;
pub mod experiments;
pub mod report;
pub mod sim;
pub mod sweep;
pub mod trace_cli;
