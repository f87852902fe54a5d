//! The block cache on the vSSD, in front of the origin disk.
//!
//! [`guest_cache::BlockCache`] knows neither slots nor commands: this module has the disks under
//! it, the application of the vSSD that it is while it is open, and its commands.
//!
//! - `open`: an open cache, and the blocks that it gives up
//! - `commands`: the commands of a cache
//! - `ranges`: those on ranges of blocks of the origin disk
//! - `device`: its disks
//! - `replay`, `tally`: accesses through it, and their counters
//! - `source`, `trace`: where accesses come from
//! - `stamps`: which write each block is from
//! - `writes`: which writes there were

mod commands;
mod device;
mod open;
mod ranges;
mod replay;
mod source;
mod stamps;
mod tally;
mod trace;
mod writes;

pub(crate) use commands::MOST_SAMPLED;
pub use open::OpenCache;
pub use writes::Writes;
