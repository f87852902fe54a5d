//! The hypervisor's side of vSSDs: a vhost-user backend that owns one SSD and
//! serves any number of resizable devices from it.
//!
//! ```text
//!  QEMU ── vhost-user socket ── worker ── request queue ── engine ── backing (file)
//!                                 │            │ blocks → physical      │
//!  vssdctl, harness ── control ───┴── Vssd ── Volume ─┐               journal
//!                                      │              ├── Pool ── log ──┘
//!                              Device (the contract) ─┘
//! ```
//!
//! - [`backend`]: the vSSDs of one pool: brought up, found, taken down
//! - [`resize_request`]: a request to resize a vSSD, and why one is refused
//! - [`arbiter`]: how many blocks each vSSD of a pool should hold; [`balancer`]: its thread, which
//!   hears guests and moves blocks
//! - [`vssd`]: one device: the contract's state machine, its volume, the statistics of its requests
//! - [`worker`], [`connection`], [`server`]: the threads of one connection, the state that they
//!   share, and one connection after the other: the only modules that know vhost-user and
//!   virtqueues
//! - [`transport`], [`agent`]: how a vSSD and its guest talk about resizes; the channel of an agent
//! - [`wake`], [`view`], [`notifier`]: waking a thread; the state of a vSSD without waiting for it, and waiting for changes
//! - [`guest_memory`]: faults in guest memory that has nothing behind it
//! - [`request`]: virtio-blk requests, from a descriptor chain to a status byte
//! - [`pool`]: the ownership of the physical blocks of the backing, and its journal
//! - [`io`], [`backing`]: moving bytes, and where they are stored
//! - [`emulation`]: when a request would end on a slower medium
//! - [`pick`]: which blocks the hypervisor takes when it picks them
//! - [`stats`], [`latency`], [`metrics`]: counters, service times, and both for Prometheus
//! - [`polling`], [`scheduling`]: which threads busy-poll before they sleep, and which
//!   yield to others
//! - [`threads`], [`descriptors`]: what follows when a thread dies, and how many file descriptors
//!   are needed
//! - [`control`], [`socket`], [`sockets`], [`http`]: the control socket: protocol, server, client; the
//!   files of sockets, and which there are; as much of HTTP as metrics need
//! - [`output`], [`logging`], [`log_limit`], [`causes`]: what the programs print and log, and at
//!   what rate
//! - [`permissions`]: permissions of the files and sockets that are created
//! - [`pool_file`]: pools in files and on devices, created only where nothing is lost;
//!   [`progress`]: progress lines for what takes long
//! - [`daemon`], [`ctl`], [`pool_ctl`], [`completions`], [`spec`], [`block_list`]: the two programs and their options
#![deny(unsafe_code)]

pub mod agent;
pub mod arbiter;
pub mod backend;
pub mod backing;
pub mod balancer;
pub mod block_list;
pub mod causes;
pub mod clock;
pub mod completions;
pub mod config_space;
pub mod connection;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod descriptors;
pub mod emulation;
pub mod guest_memory;
pub mod http;
pub mod io;
pub mod latency;
pub mod log_limit;
pub mod logging;
pub mod metrics;
pub mod notifier;
pub mod output;
pub mod permissions;
pub mod pick;
pub mod polling;
pub mod pool;
pub mod pool_ctl;
pub mod pool_file;
pub mod progress;
pub mod request;
pub mod resize_request;
pub mod scheduling;
pub mod server;
pub mod size;
pub mod socket;
pub mod sockets;
pub mod spec;
pub mod stats;
pub mod threads;
pub mod transport;
pub mod view;
pub mod vssd;
pub mod wake;
pub mod worker;
