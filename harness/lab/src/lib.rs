//! What experiments run on: guests and backends as processes, in-process twins, and the
//! peers for comparison.
//!
//! ```text
//!  testbed ┬─ vm_host, fleet: guest, backend ── qemu, process
//!          └─ twin: guest and device in this process
//!  linux: a Linux guest, with testbeds of its own
//!  native: client ── server (our backend, or a peer)
//! ```
//!
//! Nothing here records or judges rows.
#![deny(unsafe_code)]

pub mod accel;
pub mod backend;
pub mod fleet;
pub mod guest;
pub mod linux;
pub mod native;
pub mod page_cache;
pub mod process;
pub mod qemu;
pub mod resources;
pub mod testbed;
pub mod twin;
pub mod vm_host;
