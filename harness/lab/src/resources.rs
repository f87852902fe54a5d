//! What this machine has left of memory and disk.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use vssd_host::size::ByteSize;

/// Room on the disk of a folder; `None` where the system does not say.
pub fn room(folder: &Path) -> Option<ByteSize> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(ByteSize(stat.f_bavail * stat.f_frsize))
}

/// Memory that can be had without swapping; `None` where the system does not say.
pub fn memory() -> Option<ByteSize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(ByteSize(kib << 10))
}

/// The folder of a backing file has this much room at least, or a sentence
/// says how much is missing.
pub fn check_room(folder: &Path, need: ByteSize) -> Result<()> {
    let free = room(folder)
        .with_context(|| format!("{} does not say how full it is", folder.display()))?;
    if free < need {
        bail!(
            "{} has {} MiB free and {} MiB are needed: free some, or set TMPDIR to another disk",
            folder.display(),
            free.0 >> 20,
            need.0 >> 20
        );
    }
    Ok(())
}

/// There is this much memory at least, or a sentence says how much is missing.
pub fn check_memory(need: ByteSize) -> Result<()> {
    match memory() {
        Some(available) if available < need => bail!(
            "{} MiB of memory are available and a twin that writes {} MiB needs as much: choose a \
             smaller `size`, or run it under QEMU, which keeps data on disk",
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
    fn what_there_is_not_is_refused_with_both_numbers() {
        let most = ByteSize(u64::MAX);
        let error = check_memory(most).unwrap_err().to_string();
        assert!(error.contains("17592186044415 MiB"), "{error}");
        let error = check_room(Path::new("/"), most).unwrap_err().to_string();
        assert!(error.contains("TMPDIR"), "{error}");
        check_memory(ByteSize(1)).unwrap();
        assert!(check_room(Path::new("/nonexistent"), most).is_err());
    }
}
