//! The control socket: JSON lines over a UNIX stream socket.
//!
//! - [`protocol`]: the requests and replies
//! - [`server`]: the backend's side
//! - [`report`]: the state of the backend as clients see it
//! - [`arbiter`]: the arbiter as clients see and change it
//! - [`selection`]: the blocks that a client names
//! - [`client`]: the clients' side

pub mod arbiter;
pub mod client;
pub mod protocol;
pub mod report;
pub mod selection;
pub mod server;

pub use client::Client;
