//! How much of a file is in the host's page cache.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// System call number of cachestat(2) (Linux 6.5), the same on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range` of linux/mman.h; a length of 0 reaches to the end.
#[repr(C)]
struct Range {
    off: u64,
    len: u64,
}

/// `struct cachestat` of linux/mman.h, in pages.
#[repr(C)]
#[derive(Default)]
struct Counts {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Bytes of a file in the page cache.
///
/// # Errors
/// Those of cachestat(2): `ENOSYS` before Linux 6.5.
pub fn resident_bytes(file: &File) -> io::Result<u64> {
    let range = Range { off: 0, len: 0 };
    let mut counts = Counts::default();
    // SAFETY: the call reads a `Range` and writes a `Counts`; both have the kernel's layout
    // and outlive the call.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut counts,
            0,
        )
    };
    match result {
        0 => Ok(counts.cache * rustix::param::page_size() as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_just_written_is_resident() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(resident_bytes(&file).unwrap(), 0);
        file.write_all(&[1; 1 << 20]).unwrap();
        assert_eq!(resident_bytes(&file).unwrap(), 1 << 20);
    }
}
