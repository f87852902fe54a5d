//! Files and folders of results.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file, all or nothing: a reader finds the old or the new contents, and a full
/// disk is not left with a part of the new beside the old.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("write {}: is the disk full?", path.display()))
}
