//! A file or a block device, past the page cache or through it.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, SeekFrom, StatxFlags, ioctl_blksszget, seek, statx};
use vm_memory::VolatileSlice;

use super::claim::Claim;
use super::room::{self, Made};
use super::{Alignment, Backing};
use crate::permissions::FilePermissions;

/// The most buffers that one system call takes (IOV_MAX of Linux).
const MAX_BUFFERS: usize = 1024;

/// The alignment assumed for direct I/O where the system does not report it: a page.
const CAUTIOUS: u32 = 4096;

/// A file or block device, held exclusively.
#[derive(Debug)]
pub struct FileBacking {
    pub(super) file: Arc<File>,
    pub(super) claim: Claim,
    pub(super) len: u64,
    is_device: bool,
    is_direct: bool,
    direct: Alignment,
    /// Removes a file that this created, unless it is taken.
    made: Option<Made>,
}

/// How to open a file.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Create the file if it is missing, with these permissions.
    pub create: Option<FilePermissions>,
    /// Past the page cache (O_DIRECT).
    pub direct: bool,
}

/// Why a file cannot be a backing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened or examined.
    #[error("open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is missing.
    #[error(
        "{path} does not exist: create a pool there with `vssd-host --create` or `vssdctl pool \
         create`"
    )]
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
    /// It is a folder, a socket or the like.
    #[error("{path} is neither a file nor a block device")]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// Another backend uses it.
    #[error("{path} is in use by another backend{by}: stop that one first")]
    InUse {
        /// The file.
        path: PathBuf,
        /// Which process, if that can be found.
        by: String,
    },
    /// Something else uses it.
    #[error("{path} is in use: {by}; end that first")]
    Used {
        /// The file.
        path: PathBuf,
        /// What uses it.
        by: String,
    },
}

impl FileBacking {
    /// Opens `path` and claims it exclusively.
    ///
    /// A file that this creates is removed again, unless the caller takes [its guard](Self::made)
    /// and keeps it.
    ///
    /// # Errors
    /// When it cannot be opened or claimed; it is then unchanged.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self, OpenError> {
        let owned = || path.to_owned();
        let failed = |source| OpenError::Open {
            path: owned(),
            source,
        };
        let made = match (path.try_exists().map_err(failed)?, options.create) {
            (true, _) => None,
            (false, None) => return Err(OpenError::Missing { path: owned() }),
            (false, Some(permissions)) => Some(make(path, permissions).map_err(failed)?),
        };
        let kind = fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(OpenError::Kind { path: owned() });
        }
        let claim = Claim::take(path, kind.is_block_device())?;
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(if options.direct { libc::O_DIRECT } else { 0 })
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EINVAL) if options.direct => OpenError::NotDirect { path: owned() },
                _ => failed(error),
            })?;
        if !claim.is_of(&file).map_err(failed)? {
            return Err(failed(io::Error::other(
                "the file was replaced while it was being opened",
            )));
        }
        let len = seek(&file, SeekFrom::End(0)).map_err(|e| failed(e.into()))?;
        Ok(Self {
            direct: direct_alignment(&file),
            file: Arc::new(file),
            claim,
            len,
            is_device: kind.is_block_device(),
            is_direct: options.direct,
            made,
        })
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.is_device
    }

    /// The alignment that direct I/O needs of buffers and offsets, also where it is not used.
    pub fn direct_alignment(&self) -> Alignment {
        self.direct
    }

    /// A guard that undoes what is done to the file for a new pool from here on, and removes the
    /// file if this created it, unless it is [kept](Made::keep).
    pub fn made(&mut self) -> Made {
        let made = self.made.take();
        made.unwrap_or_else(|| Made::existing(self.file.clone(), self.len, self.is_device))
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
                return Err(room::explain(error));
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

/// Creates a file with these permissions.
fn make(path: &Path, permissions: FilePermissions) -> io::Result<Made> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let made = Made::new(path, &file)?;
    permissions.apply(&file)?;
    Ok(made)
}

/// What direct I/O to a file needs (statx(2), since Linux 6.1).
fn direct_alignment(file: &File) -> Alignment {
    let asked = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let (address, len) = match asked {
        Ok(found) if found.stx_dio_offset_align > 0 => {
            (found.stx_dio_mem_align, found.stx_dio_offset_align)
        }
        // Block devices have always reported their sector size.
        _ => (CAUTIOUS, ioctl_blksszget(file).unwrap_or(CAUTIOUS)),
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

impl Backing for FileBacking {
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
        if self.is_direct {
            self.direct
        } else {
            Alignment::default()
        }
    }

    fn hole_unit(&self) -> Option<u64> {
        self.unit()
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        self.punch_range(range)
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(self.file.clone())
    }

    fn claim(&self) -> Vec<BorrowedFd<'_>> {
        self.claim.descriptors().collect()
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock};
    use rustix::io::Errno;

    use super::*;
    use crate::io::uring::Uring;

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

    fn options(create: bool, direct: bool) -> FileOptions {
        FileOptions {
            create: create.then(FilePermissions::default),
            direct,
        }
    }

    #[test]
    fn a_medium_is_made_and_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        assert!(matches!(
            FileBacking::open(&path, options(false, false)),
            Err(OpenError::Missing { .. })
        ));
        let mut backing = FileBacking::open(&path, options(true, false)).unwrap();
        backing.made().keep();
        assert_eq!(backing.alignment(), Alignment::default());
        let error = FileBacking::open(&path, options(false, false)).unwrap_err();
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
        drop(backing);
        FileBacking::open(&path, options(true, false)).unwrap();
        assert!(path.exists());
    }

    /// As a kill leaves it: the kernel closes the descriptors of the process at once, and takes
    /// its rings down when their transfers have ended.
    #[test]
    fn a_ring_keeps_the_claim_of_a_backing_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut backing = FileBacking::open(&path, options(true, false)).unwrap();
        backing.made().keep();
        let ring = Uring::new(backing.file().unwrap(), &backing.claim()).unwrap();
        drop(backing);
        let other = File::open(&path).unwrap();
        let try_lock = || flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(try_lock(), Err(Errno::WOULDBLOCK));
        drop(ring);
        assert_eq!(try_lock(), Ok(()));
    }

    #[test]
    fn a_file_that_comes_to_nothing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        drop(FileBacking::open(&path, options(true, false)).unwrap());
        assert!(!path.exists());
        let error = FileBacking::open(dir.path(), options(true, false)).unwrap_err();
        assert!(matches!(error, OpenError::Kind { .. }), "{error}");
    }

    /// As QEMU locks its disks: by fcntl(2), which flock(2) does not see.
    #[test]
    fn a_file_that_another_program_has_locked_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let other = File::create(&path).unwrap();
        let part = libc::flock {
            l_type: libc::F_RDLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 100,
            l_len: 1,
            l_pid: 0,
        };
        let reader = File::open(&path).unwrap();
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_OFD_SETLK(&part)).unwrap();
        let error = FileBacking::open(&path, options(true, false)).unwrap_err();
        assert!(error.to_string().contains("has locked a part"), "{error}");
        drop((other, reader));
        FileBacking::open(&path, options(true, false)).unwrap();
    }

    #[test]
    fn direct_media_say_what_they_need() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let backing = match FileBacking::open(&path, options(true, true)) {
            Err(error @ OpenError::NotDirect { .. }) => {
                assert!(error.to_string().contains("--buffered"));
                return;
            }
            backing => backing.unwrap(),
        };
        let Alignment { address, len } = backing.alignment();
        assert!(address.is_power_of_two() && (512..=4096).contains(&len));
        let mut bytes = vec![7; len + address];
        let skip = bytes.as_ptr().align_offset(address);
        let slice = VolatileSlice::from(&mut bytes[skip..skip + len]);
        backing.write(0, &[slice]).unwrap();
        backing.read(0, &[slice]).unwrap();
    }
}
