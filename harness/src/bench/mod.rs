//! Measurements of the backend alone, and of the guest's cache alone, beside their peers.
//!
//! - [`client`]: drives a block device by the `blkio` crate, which is not ours
//! - [`server`]: what is measured, as a process of its own
//! - [`load`]: a load, and what a slice of it came to
//! - [`io`], [`verdict`]: `harness bench io`, and what it shows
//! - [`resize`], [`resize_verdict`]: `harness bench resize`, and what it shows
//! - [`cache`], [`cache_verdict`]: `harness bench cache`, and what it shows
//! - [`cli`]: what they have in common: rows, report

pub mod cache;
pub mod cache_verdict;
pub mod cli;
pub mod io;
pub mod resize;
pub mod resize_verdict;
pub mod verdict;
