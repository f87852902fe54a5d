//! Free memory and disk space of this machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vssd_host::size::ByteSize;

/// Free space on the file system of a folder; `None` if unknown.
pub fn room(folder: &Path) -> Option<ByteSize> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(ByteSize(stat.f_bavail * stat.f_frsize))
}

/// Memory available without swapping; `None` if unknown.
pub fn memory() -> Option<ByteSize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(ByteSize(kib << 10))
}

/// A temporary folder with space for `need` bytes.
pub(crate) fn temporary_folder(need: ByteSize) -> Result<TempDir> {
    check_room(&std::env::temp_dir(), need)?;
    tempfile::Builder::new()
        .prefix("vssd-")
        .tempdir()
        .context("create a temporary folder")
}

/// Checks that the file system of a folder has enough free space for a backing file.
pub fn check_room(folder: &Path, need: ByteSize) -> Result<()> {
    let free = room(folder)
        .with_context(|| format!("cannot determine the free space of {}", folder.display()))?;
    if free < need {
        bail!(
            "{} has {} MiB free, but {} MiB are needed: free space, or set TMPDIR to another disk",
            folder.display(),
            free.0 >> 20,
            need.0 >> 20
        );
    }
    Ok(())
}

/// Checks that enough memory is available for the data of a twin.
pub fn check_memory(need: ByteSize) -> Result<()> {
    match memory() {
        Some(available) if available < need => bail!(
            "{} MiB of memory are available, but the twin keeps {} MiB of data in memory: set a \
             smaller `size`, or use `--transport qemu`, which keeps data on disk",
            available.0 >> 20,
            need.0 >> 20
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_are_reported_with_both_numbers() {
        let most = ByteSize(u64::MAX);
        let error = check_memory(most).unwrap_err().to_string();
        assert!(error.contains("17592186044415 MiB"), "{error}");
        let error = check_room(Path::new("/"), most).unwrap_err().to_string();
        assert!(error.contains("TMPDIR"), "{error}");
        check_memory(ByteSize(1)).unwrap();
        assert!(check_room(Path::new("/nonexistent"), most).is_err());
    }
}
