//! The block cache on the vSSD, in front of the origin disk.
//!
//! [`guest_cache::BlockCache`] knows neither slots nor commands: here are the disks under
//! it, the application of the vSSD that it becomes while it is open, and what commands
//! do with it.
//!
//! - `open`: an open cache, and the blocks that it gives up
//! - `commands`: what a command does
//! - `device`: its disks
//! - `replay`, `tally`: accesses through it, and what they counted
//! - `source`, `trace`: where accesses come from
//! - `stamps`: which write each block is from
//! - `writes`: which writes there were

mod commands;
mod device;
mod open;
mod replay;
mod source;
mod stamps;
mod tally;
mod trace;
mod writes;

pub use open::OpenCache;
pub use writes::Writes;
