//! The experiment harness: runs experiments, records their measurements, judges them and writes
//! reports.
//!
//! ```text
//!  cli ─┬─ experiments ── lab (guests, backends, twins), simulate (traces, simulated caches)
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
