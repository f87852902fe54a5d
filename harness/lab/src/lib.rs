//! What experiments run on: guests and backends as processes, twins of guests in this
//! process, and the peers that they are compared with.
//!
//! ```text
//!  testbed ┬─ vm_host, fleet: guest, backend ── qemu, process
//!          └─ twin: guest and device in this process
//!  native: client ── server (our backend, or a peer)
//! ```
//!
//! Nothing here records a row or judges one.
#![deny(unsafe_code)]

pub mod accel;
pub mod backend;
pub mod fleet;
pub mod guest;
pub mod native;
pub mod page_cache;
pub mod process;
pub mod qemu;
pub mod resources;
pub mod testbed;
pub mod twin;
pub mod vm_host;
