//! The experiment harness: runs experiments in a lab, records what they measure, and
//! reports what that shows.
//!
//! ```text
//!  cli ─┬─ experiments ── lab (guests, backends, twins), simulate (traces, caches on paper)
//!       ├─ sweep            │ rows
//!       └─ report ◀─ results: folder ── verdict, figures, report
//! ```
#![forbid(unsafe_code)]

mod bench;
pub mod cli;
mod doctor;
pub mod experiments;
mod reference;
pub mod report;
pub mod runs;
mod sim;
mod sweep;
mod trace_cli;
