//! The hypervisor's side of vSSDs: a vhost-user backend that owns one SSD and
//! serves any number of resizable devices from it.
//!
//! ```text
//!  QEMU ── vhost-user socket ── connection ── worker ─┐
//!                                                     ├── Vssd ── Device (the contract)
//!  vssdctl, harness ── control socket ── control ─────┤     └─── Store ── Medium (file)
//!                                          clock ─────┘                └ ownership log
//! ```
//!
//! - [`vssd`]: one device: the contract's state machine, its store and counters behind one lock
//! - [`worker`]: the only module that knows vhost-user and virtqueues
//! - [`request`]: a descriptor chain as a virtio-blk request, and its execution
//! - [`pick`]: what the hypervisor takes when it picks by itself
//! - [`store`], [`ownership`], [`medium`]: what is where, who owns it, and where bytes go
//! - [`latency`]: how long requests took, and had to wait for resizes
//! - [`control`]: the control socket: protocol, server, client
//! - [`daemon`], [`ctl`]: the two programs
#![deny(unsafe_code)]

pub mod clock;
pub mod config_space;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod io;
pub mod latency;
pub mod medium;
pub mod ownership;
pub mod pick;
pub mod pool;
pub mod request;
pub mod size;
pub mod store;
pub mod vssd;
pub mod worker;
