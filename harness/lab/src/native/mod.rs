//! Block devices driven without a guest.
//!
//! - [`client`]: drives a block device by the `blkio` crate, which is not ours
//! - [`server`]: our backend, or `qemu-storage-daemon`, as a process of its own
//! - [`load`]: a load, and what a slice of it came to

pub mod client;
pub mod load;
pub mod server;
