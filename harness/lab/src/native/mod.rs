//! Block devices driven without a guest.
//!
//! - [`client`]: drives a block device with libblkio, an independent client
//! - [`server`]: our backend, or `qemu-storage-daemon`, as a process
//! - [`load`]: a load, and the measurements of a slice of it

pub mod client;
pub mod load;
pub mod server;
