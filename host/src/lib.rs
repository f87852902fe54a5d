//! The hypervisor's side of vSSDs: a vhost-user backend that owns one SSD and
//! serves any number of resizable devices from it.
//!
//! ```text
//!  QEMU ── vhost-user socket ── worker ── request queue ── engine ── medium (file)
//!                                 │            │ blocks → places        │
//!  vssdctl, harness ── control ───┴── Vssd ── Volume ─┐               journal
//!                                      │              ├── Pool ── log ──┘
//!                              Device (the contract) ─┘
//! ```
//!
//! - [`backend`]: the vSSDs of one pool: brought up, found, taken down
//! - [`wish`]: what is asked of a vSSD's size, and why that is refused
//! - [`vssd`]: one device: the contract's state machine, its volume, what is known of its requests
//! - [`worker`], [`connection`], [`server`]: one connection of a frontend, what its threads know
//!   of it, and one after the other: the only modules that know vhost-user and virtqueues
//! - [`view`], [`bell`]: what is known of a vSSD without waiting for it, and hearing of changes
//! - [`guest_memory`]: memory of a guest that turns out not to be there
//! - [`request`]: a descriptor chain as a virtio-blk request, and what it waits for
//! - [`pool`]: who owns which place of the medium, and how that lasts
//! - [`io`], [`medium`]: moving bytes, and where they go
//! - [`media`]: when that would end on a medium that is not there
//! - [`pick`]: what the hypervisor takes when it picks by itself
//! - [`stats`], [`latency`], [`metrics`]: what is counted, how long requests took, and all of
//!   that for Prometheus
//! - [`polling`], [`scheduling`]: which threads look for more instead of sleeping, and which
//!   let others go first
//! - [`threads`], [`descriptors`]: what follows when a thread dies, and how many file descriptors
//!   there have to be
//! - [`control`], [`socket`], [`http`]: the control socket: protocol, server, client; the files of
//!   sockets; as much of HTTP as metrics take
//! - [`output`], [`logging`], [`complaint`], [`causes`]: what the programs print and log, and how
//!   often
//! - [`access`]: who may use the files and sockets that are made
//! - [`pool_file`]: pools in files and on devices, made only where nothing is lost;
//!   [`progress`]: what is said of that if it takes its time
//! - [`daemon`], [`ctl`], [`pool_ctl`], [`completions`], [`spec`], [`block_list`]: the two programs and
//!   their arguments
#![deny(unsafe_code)]

pub mod access;
pub mod backend;
pub mod bell;
pub mod block_list;
pub mod causes;
pub mod clock;
pub mod complaint;
pub mod completions;
pub mod config_space;
pub mod connection;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod descriptors;
pub mod guest_memory;
pub mod http;
pub mod io;
pub mod latency;
pub mod logging;
pub mod media;
pub mod medium;
pub mod metrics;
pub mod output;
pub mod pick;
pub mod polling;
pub mod pool;
pub mod pool_ctl;
pub mod pool_file;
pub mod progress;
pub mod request;
pub mod scheduling;
pub mod server;
pub mod size;
pub mod socket;
pub mod spec;
pub mod stats;
pub mod threads;
pub mod view;
pub mod vssd;
pub mod wish;
pub mod worker;
