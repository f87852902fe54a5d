//! A stock Linux guest under QEMU.
//!
//! ```text
//!  testbed ── guest ┬─ launch   QEMU's command line: disks, ports
//!    │              ├─ channel  runs scripts in the guest
//!    │              └─ image    kernel and initramfs, built by guest-linux/image/build
//!    └─ backend
//! ```
//!
//! The guest of this project is compiled into the harness; this one is made of a distribution's
//! packages, so it may be missing.

mod channel;
pub mod guest;
pub mod image;
pub mod launch;
pub mod testbed;
