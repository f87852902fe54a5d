//! A file or a block device, past the page cache or through it.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, SeekFrom, StatxFlags, flock, seek, statx};
use vm_memory::VolatileSlice;

use super::{Alignment, Medium};
use crate::size::ByteSize;

/// How long a predecessor may take to die: its last writes hold the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The most buffers that one system call takes (IOV_MAX of Linux).
const MAX_BUFFERS: usize = 1024;

/// What direct I/O is taken to need where the system does not say: a page.
const CAUTIOUS: u32 = 4096;

/// Bytes of zeros that are written at once.
const FILL: usize = 1 << 20;

/// A file or block device, held exclusively.
#[derive(Debug)]
pub struct FileMedium {
    file: Arc<File>,
    /// Another description of the same file, which has the lock. That of `file` is
    /// registered in rings, which the kernel takes down some time after the
    /// process that had them was killed.
    _lock: File,
    len: u64,
    alignment: Alignment,
}

/// How to open a file.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Make the file if there is none.
    pub create: bool,
    /// Past the page cache (O_DIRECT).
    pub direct: bool,
}

/// Why a file cannot be a medium.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened or asked.
    #[error("open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is missing.
    #[error("{path} does not exist: add --create to make it")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Its file system has no direct I/O.
    #[error(
        "the file system of {path} has no direct I/O: add --buffered to go through the page cache"
    )]
    NotDirect {
        /// The file.
        path: PathBuf,
    },
    /// Another program has it.
    #[error("{path} is in use by another backend: stop that one first")]
    InUse {
        /// The file.
        path: PathBuf,
    },
}

impl FileMedium {
    /// Opens `path`.
    ///
    /// The file is locked against a second backend. A predecessor that was just
    /// killed has the lock until its requests have ended: its threads wait for those
    /// before the kernel closes its files.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        if !options.create && !path.exists() {
            return Err(OpenError::Missing {
                path: path.to_owned(),
            });
        }
        let direct = if options.direct { libc::O_DIRECT } else { 0 };
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(options.create)
            .truncate(false)
            .custom_flags(direct)
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) if options.direct => OpenError::NotDirect {
                    path: path.to_owned(),
                },
                _ => failed(error),
            })?;
        let lock = lock(path)?;
        let len = seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        let alignment = match options.direct {
            true => direct_alignment(&file),
            false => Alignment::default(),
        };
        Ok(Self {
            file: Arc::new(file),
            _lock: lock,
            len,
            alignment,
        })
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        let metadata = self.file.metadata();
        metadata.is_ok_and(|metadata| metadata.file_type().is_block_device())
    }

    /// Extends the file to `len` bytes, unless it has them, and fills the first `solid` of
    /// them with zeros. The others may remain sparse.
    ///
    /// A file system keeps everybody else off a file while it finds room for what is
    /// written. So what is written while requests are under way has its room from the
    /// beginning. A device has it anyway and is left as it is.
    ///
    /// # Errors
    /// When the file cannot grow, as a device cannot, or there is no room.
    pub fn lay_out(&mut self, len: u64, solid: u64) -> io::Result<()> {
        if self.len < len {
            if self.is_device() {
                return Err(io::Error::other(format!(
                    "the device has {}, but {} are needed",
                    ByteSize(self.len),
                    ByteSize(len)
                )));
            }
            self.file.set_len(len)?;
            self.len = len;
        }
        if self.is_device() {
            return Ok(());
        }
        let mut zeros = vec![0; FILL + self.alignment.address];
        let aligned = zeros.as_ptr().align_offset(self.alignment.address);
        let zeros = VolatileSlice::from(&mut zeros[aligned..][..FILL]);
        for offset in (0..solid).step_by(FILL) {
            let len = (solid - offset).min(FILL as u64) as usize;
            let part = zeros.subslice(0, len).map_err(io::Error::other)?;
            self.write(offset, &[part])?;
        }
        Ok(())
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

/// Locks a file against other backends; what is returned has the lock.
fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
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
    Ok(file)
}

/// What direct I/O to a file needs (statx(2), since Linux 6.1).
fn direct_alignment(file: &File) -> Alignment {
    let asked = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let (address, len) = match asked {
        Ok(found) if found.stx_dio_offset_align > 0 => {
            (found.stx_dio_mem_align, found.stx_dio_offset_align)
        }
        _ => (CAUTIOUS, CAUTIOUS),
    };
    Alignment {
        address: address as usize,
        len: len as usize,
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

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn alignment(&self) -> Alignment {
        self.alignment
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(self.file.clone())
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
        let options = |create, direct| FileOptions { create, direct };
        assert!(matches!(
            FileMedium::open(&path, options(false, false)),
            Err(OpenError::Missing { .. })
        ));
        let mut medium = FileMedium::open(&path, options(true, false)).unwrap();
        medium.lay_out(1 << 20, 8192).unwrap();
        assert_eq!(medium.len(), 1 << 20);
        assert_eq!(medium.alignment(), Alignment::default());
        let taken = std::os::unix::fs::MetadataExt::blocks(&medium.file.metadata().unwrap());
        assert_eq!(taken * 512, 8192);
        assert!(matches!(
            FileMedium::open(&path, options(false, false)),
            Err(OpenError::InUse { .. })
        ));
    }

    #[test]
    fn direct_media_say_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let options = FileOptions {
            create: true,
            direct: true,
        };
        let medium = match FileMedium::open(&path, options) {
            Err(error @ OpenError::NotDirect { .. }) => {
                assert!(error.to_string().contains("--buffered"));
                return;
            }
            medium => medium.unwrap(),
        };
        let Alignment { address, len } = medium.alignment();
        assert!(address.is_power_of_two() && (512..=4096).contains(&len));
        let mut bytes = vec![7; len + address];
        let skip = bytes.as_ptr().align_offset(address);
        let slice = VolatileSlice::from(&mut bytes[skip..skip + len]);
        medium.write(0, &[slice]).unwrap();
        medium.read(0, &[slice]).unwrap();
    }
}
