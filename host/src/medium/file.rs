//! A sparse file or a block device, through the page cache.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, fallocate, flock, seek};
use vm_memory::VolatileSlice;

use super::Medium;
use crate::size::ByteSize;

/// How long a predecessor may take to die: its last writes hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The most buffers that one system call takes (IOV_MAX of Linux).
const MAX_BUFFERS: usize = 1024;

/// A file or block device, held exclusively.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    len: u64,
}

/// Why a file cannot be a medium.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened or asked.
    #[error("open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is too small.
    #[error(
        "{path} has {have} but {need} are needed: add --create to extend it, or choose smaller vSSDs"
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Its size.
        have: ByteSize,
        /// What the vSSDs take.
        need: ByteSize,
    },
    /// It is missing.
    #[error("{path} does not exist: add --create to make it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another backend has it.
    #[error("{path} is in use by another backend: stop that one first")]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl FileMedium {
    /// Opens `path`, which must have `need` bytes; with `create` a file is
    /// made or extended as needed, sparsely.
    ///
    /// The file is locked against a second backend. A predecessor that was
    /// just killed may still have writes in flight, which hold the lock.
    pub fn open(path: &Path, need: u64, create: bool) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        if !create && !path.exists() {
            return Err(OpenError::Missing {
                path: path.to_owned(),
            });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let started = Instant::now();
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            if started.elapsed() > LOCK_PATIENCE {
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        let is_device = file
            .metadata()
            .map_err(failed)?
            .file_type()
            .is_block_device();
        let mut len = seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        if len < need && create && !is_device {
            file.set_len(need).map_err(failed)?;
            len = need;
        }
        if len < need {
            return Err(OpenError::TooSmall {
                path: path.to_owned(),
                have: ByteSize(len),
                need: ByteSize(need),
            });
        }
        Ok(Self { file, len })
    }

    /// Moves all of `buffers` from `offset` on by `call`, which is `preadv` or
    /// `pwritev` and may move less at a time.
    fn transfer(
        &self,
        mut offset: u64,
        buffers: &[VolatileSlice<'_>],
        call: unsafe extern "C" fn(
            libc::c_int,
            *const libc::iovec,
            libc::c_int,
            libc::off_t,
        ) -> libc::ssize_t,
    ) -> io::Result<()> {
        let guards: Vec<_> = buffers.iter().map(VolatileSlice::ptr_guard_mut).collect();
        let mut vectors: Vec<libc::iovec> = buffers
            .iter()
            .zip(&guards)
            .filter(|(buffer, _)| !buffer.is_empty())
            .map(|(buffer, guard)| libc::iovec {
                iov_base: guard.as_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        let mut rest = &mut vectors[..];
        while !rest.is_empty() {
            let count = rest.len().min(MAX_BUFFERS);
            let at = libc::off_t::try_from(offset)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            // SAFETY: the first `count` vectors name guest memory that
            // `guards` keeps mapped, each within one slice; guest memory is
            // shared with the guest anyway, so no Rust reference to it exists
            // that the kernel's access could invalidate. The file descriptor
            // is open as long as `self.file` lives.
            let moved = unsafe {
                call(
                    self.file.as_raw_fd(),
                    rest.as_ptr(),
                    count as libc::c_int,
                    at,
                )
            };
            if moved < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            if moved == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += moved as u64;
            rest = advance(rest, moved as usize);
        }
        Ok(())
    }
}

/// The vectors that remain after the first `moved` bytes.
fn advance(vectors: &mut [libc::iovec], mut moved: usize) -> &mut [libc::iovec] {
    let mut whole = 0;
    while whole < vectors.len() && vectors[whole].iov_len <= moved {
        moved -= vectors[whole].iov_len;
        whole += 1;
    }
    let rest = &mut vectors[whole..];
    if moved > 0 {
        // `moved` is less than the length of the first that is left.
        rest[0].iov_base = rest[0].iov_base.cast::<u8>().wrapping_add(moved).cast();
        rest[0].iov_len -= moved;
    }
    rest
}

impl Medium for FileMedium {
    fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.transfer(offset, buffers, libc::preadv)
    }

    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.transfer(offset, buffers, libc::pwritev)
    }

    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(
            &self.file,
            flags,
            range.start,
            range.end - range.start,
        )?)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn data(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let start = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) if start < range.end => start,
                // No data behind this point.
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = seek(&self.file, SeekFrom::Hole(start))?.min(range.end);
            found.push(start..end);
            at = end;
        }
        Ok(found)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_transfers_go_on_where_they_ended() {
        let mut bytes = [0u8; 30];
        let base = bytes.as_mut_ptr();
        let mut vectors: Vec<libc::iovec> = (0..3)
            .map(|i| libc::iovec {
                iov_base: base.wrapping_add(10 * i).cast(),
                iov_len: 10,
            })
            .collect();
        let rest = advance(&mut vectors, 14);
        assert_eq!(rest.len(), 2);
        assert_eq!(rest[0].iov_base.cast(), base.wrapping_add(14));
        assert_eq!(rest[0].iov_len, 6);
        assert!(advance(rest, 16).is_empty());
    }

    #[test]
    fn a_medium_is_made_locked_and_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        assert!(matches!(
            FileMedium::open(&path, 4096, false),
            Err(OpenError::Missing { .. })
        ));
        let medium = FileMedium::open(&path, 1 << 20, true).unwrap();
        assert_eq!(medium.len(), 1 << 20);
        assert!(medium.data(0..1 << 20).unwrap().is_empty());
        drop(medium);
        assert!(matches!(
            FileMedium::open(&path, 1 << 21, false),
            Err(OpenError::TooSmall { .. })
        ));
    }
}
