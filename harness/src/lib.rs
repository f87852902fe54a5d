//! The experiment harness: starts guests and backends, runs experiments on
//! them, records what they measure, and presents it.
//!
//! ```text
//!  cli ── experiment ── testbed ┬─ vm_host: guest, backend ── qemu, process
//!   │         │ rows (record)    └─ twin: both in this process
//!   │         ▼
//!   └──▶ present: store ── study ── figures, report
//! ```
//!
//! `sim` and `mrc` need none of that: they see the accesses of a trace, and no guest. `trace` reads
//! recorded traces for them, and makes disks of them that guests replay.
//!
//! The run stage (experiment) and what follows it share nothing but the files
//! in a run's folder.
#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod experiment;
pub mod picker;
pub mod present;
pub mod record;
pub mod sim;
pub mod sweep;
pub mod trace_cli;
