//! The contract of the vSSD.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod block_set;
pub mod device;
pub mod driver;
pub mod encoding;
pub mod error;
pub mod units;
pub mod wire;
