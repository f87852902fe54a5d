//! The contract of the vSSD.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod units;
pub mod wire;
