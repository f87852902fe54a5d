//! The contract of the vSSD, for both of its sides: free of I/O, clocks,
//! threads and randomness.
//!
//! - [`advice`], [`demand`]: what a cache should keep off the vSSD, and what its application does
//! - [`units`], [`wire`], [`encoding`]: shapes and layouts (SPEC.md)
//! - [`device`], [`driver`]: the two halves of the resize protocol
//! - [`stream`]: their messages over a byte stream, beside virtqueues
//! - [`block_set`], [`recency`]: which blocks, and when they were last accessed
//! - [`error`]: why the device refuses
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod advice;
pub mod block_set;
pub mod demand;
pub mod device;
pub mod driver;
pub mod encoding;
pub mod error;
#[cfg(test)]
mod model;
pub mod recency;
pub mod stream;
pub mod units;
pub mod wire;
