//! The agent of a stock Linux guest. It speaks the vSSD contract over a virtio serial port, and
//! decides which blocks of the disk can be missed.
//!
//! ```text
//!   host                        guest
//!  DeviceEnd ══ port ══ Session ─── Source ─┬─ Balloon ── Files ──▶ ext4, XFS, F2FS
//!                       AgentEnd            ├─ CacheDisk ─ Mapper ─▶ dm-cache
//!                       Driver              └─ RawList ───────────▶ a file of block numbers
//!  └──────────────┘  └──────────── no I/O ────────────┘  └─ I/O ───┘
//! ```
//!
//! - [`session`]: the channel, the contract's driver and a source of blocks, joined; [`source`]:
//!   what a source answers
//! - [`balloon`], [`cache`], [`raw`]: the three sources
//! - [`disk`]: where on the vSSD a file system or device mapper target lies; [`dm`]: the device
//!   mapper
//! - [`port`], [`service`]: the serial port, and the loop that waits for it
//! - [`args`], [`attach`], [`size`], [`log`], [`error`]: options, what they lead to, sizes, the log,
//!   and what ends the program
//! - [`ioctl`]: calls of the kernel for which there is no safe function; the only unsafe code
#![deny(unsafe_code)]

pub mod args;
pub mod attach;
pub mod balloon;
pub mod cache;
pub mod disk;
pub mod dm;
pub mod error;
pub mod ioctl;
pub mod log;
pub mod port;
pub mod raw;
pub mod service;
pub mod session;
pub mod size;
pub mod source;
