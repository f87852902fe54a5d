//! The parts of the guest's kernel that need no CPU of their own.
//!
//! The kernel itself is the binary `vssd-guest`, built freestanding with feature `image`. The
//! modules here are pure: they are tested on the host, and a program that starts QEMU reads
//! [`exit`].
#![no_std]
#![forbid(unsafe_code)]

pub mod bar_window;
pub mod exit;
pub mod memory_map;
pub mod time_scale;
