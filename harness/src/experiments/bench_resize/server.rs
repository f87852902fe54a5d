//! The backend that native clients measure.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::native::server::Server;

/// Bytes in a block.
pub(super) const BLOCK: u64 = 4096;

/// A bound on each command.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Our backend with a vSSD of so many blocks.
pub(super) fn start(folder: &Path, name: &str, blocks: u64) -> Result<Server> {
    let path = folder.join(name);
    let path = path
        .to_str()
        .context("the path of the folder is not UTF-8")?;
    Server::ours(folder, path, blocks * BLOCK, &[])
}
