//! The parts of the guest's kernel that need no CPU of their own.
//!
//! The kernel itself is the binary `vssd-guest`, built freestanding with
//! feature `image`. What lies here is pure: it is tested on the host, and who
//! starts QEMU reads [`exit`] from it.
#![no_std]
#![forbid(unsafe_code)]

pub mod bar_window;
pub mod exit;
pub mod memory_map;
pub mod time_scale;
