//! Space for a new pool on a file or block device.
//!
//! The metadata of the pool is allocated from the beginning, blocks of vSSDs as they are written. A
//! creation that fails is undone.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::process::{Resource, geteuid, getrlimit};
use signal_hook::consts::SIGXFSZ;
use vm_memory::VolatileSlice;

use super::{Backing, FileBacking};
use crate::progress::Progress;
use crate::size::ByteSize;

/// Bytes of zeros that are written at once.
const FILL: usize = 1 << 20;

/// What a pool needs of its backing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of all of it.
    pub len: u64,
    /// The first of these, which are allocated from the beginning.
    pub reserved: u64,
    /// Parts of these that are written soon and often.
    pub busy: Vec<Range<u64>>,
}

impl FileBacking {
    /// Extends the file to the length of a pool, unless it has that, and allocates the reserved
    /// part. A device is left as it is.
    ///
    /// Allocation alone is not enough for the parts that are written often. The first write to
    /// allocated but unwritten space changes metadata of the file system, which then has to be made
    /// durable too: on ext4 of Linux 6.18 an fdatasync(2) after it took 0.5 to 1.1 ms in the median
    /// instead of 0.16 to 0.19, and older kernels block all other requests to the file meanwhile.
    /// So zeros are written there now, tens of mebibytes at most. A journal that grows beyond that
    /// pays this price once; avoiding it would take gigabytes of zeros in advance.
    ///
    /// # Errors
    /// When the file or device is too short and cannot grow, or there is no space.
    pub fn lay_out(&mut self, room: &Room, progress: &mut Progress) -> Result<()> {
        self.check_room(room)?;
        if self.is_device() {
            return Ok(());
        }
        if self.len < room.len {
            let extended = self.file.set_len(room.len).map_err(explain);
            extended.with_context(|| format!("extend the file to {}", ByteSize(room.len)))?;
            self.len = room.len;
        }
        let reserved = fallocate(&self.file, FallocateFlags::empty(), 0, room.reserved);
        match reserved {
            Ok(()) => room
                .busy
                .iter()
                .try_for_each(|part| self.fill(part.clone(), progress)),
            // A file system without preallocation allocates what is written.
            Err(rustix::io::Errno::OPNOTSUPP) => self.fill(0..room.reserved, progress),
            Err(error) => Err(explain(error.into())),
        }
        .with_context(|| {
            let reserved = ByteSize(room.reserved).rounded();
            format!("take {reserved} for the pool's journal")
        })
    }

    /// Checks in advance that there is enough space, as far as can be known: the error then gives
    /// figures, which ENOSPC does not.
    ///
    /// # Errors
    /// When there is not enough.
    pub fn check_room(&self, room: &Room) -> Result<()> {
        if self.is_device() {
            ensure!(
                self.len >= room.len,
                "the device has {}, but the pool takes {}",
                ByteSize(self.len).rounded(),
                ByteSize(room.len).rounded()
            );
            return Ok(());
        }
        if let Some(limit) = size_limit().filter(|limit| *limit < room.len) {
            bail!(
                "it needs a file of {}, but this process may write at most {}: raise the \
                 limit (ulimit -f)",
                ByteSize(room.len).rounded(),
                ByteSize(limit)
            );
        }
        self.check_free(room.reserved)
    }

    fn check_free(&self, reserved: u64) -> Result<()> {
        let has = self.file.metadata().context("read its size")?.blocks() * 512;
        let need = reserved.saturating_sub(has);
        let found = fstatvfs(&self.file).context("read the free space of its file system")?;
        let free = if geteuid().is_root() {
            found.f_bfree
        } else {
            found.f_bavail
        };
        let free = free * found.f_frsize;
        ensure!(
            need <= free,
            "its journal takes {} at once, but the file system has {} left",
            ByteSize(need).rounded(),
            ByteSize(free).rounded()
        );
        Ok(())
    }

    /// Writes zeros.
    fn fill(&self, part: Range<u64>, progress: &mut Progress) -> io::Result<()> {
        let alignment = self.direct_alignment().address;
        let mut zeros = vec![0; FILL + alignment];
        let aligned = zeros.as_ptr().align_offset(alignment);
        let zeros = VolatileSlice::from(&mut zeros[aligned..][..FILL]);
        for offset in part.clone().step_by(FILL) {
            progress.at("written", offset - part.start, part.end - part.start);
            let len = (part.end - offset).min(FILL as u64) as usize;
            let some = zeros.subslice(0, len).map_err(io::Error::other)?;
            self.write(offset, &[some])?;
        }
        Ok(())
    }

    /// Empties a file: its contents are lost.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.len = 0;
        Ok(())
    }
}

/// Undoes, when it is dropped, what was done to a file for a new pool.
#[derive(Debug)]
#[must_use = "dropping it undoes the changes"]
pub struct Made(Option<Before>);

#[derive(Debug)]
enum Before {
    /// There was no such file.
    Nothing { path: PathBuf, inode: (u64, u64) },
    /// It was of that length.
    Shorter { file: Arc<File>, len: u64 },
}

impl Made {
    /// A file that was just created at `path`.
    pub(super) fn new(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self(Some(Before::Nothing {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
        })))
    }

    /// A file or device that was there before, of that length.
    pub(super) fn existing(file: Arc<File>, len: u64, is_device: bool) -> Self {
        Self((!is_device).then_some(Before::Shorter { file, len }))
    }

    /// The pool is complete: nothing is undone.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The failure is reported already; an error of the undo would hide its cause.
        match self.0.take() {
            Some(Before::Nothing { path, inode }) => {
                let there = fs::metadata(&path).map(|found| (found.dev(), found.ino()));
                if there.is_ok_and(|there| there == inode) {
                    let _ = fs::remove_file(&path);
                }
            }
            Some(Before::Shorter { file, len }) => {
                let _ = file.set_len(len);
            }
            None => {}
        }
    }
}

/// Makes writes beyond a limit on the size of files (`ulimit -f`, or that of a file system) fail
/// with an error, instead of ending the process by SIGXFSZ.
///
/// # Errors
/// When the system does not let it.
pub fn survive_size_limits() -> Result<()> {
    // Any handler replaces the default action, which ends the process; the write reports the error.
    let noted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGXFSZ, noted).context("handle SIGXFSZ")?;
    Ok(())
}

/// Logs that a pool of `len` bytes does not fit the limit on the size of files.
pub fn warn_of_size_limit(backing: &FileBacking, len: u64) {
    let limit = size_limit().filter(|limit| *limit < len && !backing.is_device());
    if let Some(limit) = limit {
        tracing::warn!(
            "this process may not write files larger than {} (ulimit -f), but the pool takes {}: writes \
             beyond that limit will fail",
            ByteSize(limit),
            ByteSize(len)
        );
    }
}

/// Bytes of the largest file that this process may write.
fn size_limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}

/// Names the exceeded limit, which the error of the system does not.
pub(super) fn explain(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::EFBIG) {
        return error;
    }
    let text = match size_limit() {
        Some(limit) => format!(
            "this process may not write files larger than {} (ulimit -f)",
            ByteSize(limit)
        ),
        None => "the file system does not support files that large".to_owned(),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

#[cfg(test)]
mod tests {
    use super::super::FileOptions;
    use super::*;
    use crate::permissions::FilePermissions;

    fn open(path: &Path) -> FileBacking {
        let options = FileOptions {
            create: Some(FilePermissions::default()),
            direct: false,
        };
        FileBacking::open(path, options).unwrap()
    }

    #[test]
    fn what_is_reserved_has_its_room_and_the_rest_is_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let mut backing = open(&dir.path().join("disk"));
        let made = backing.made();
        let room = Room {
            len: 1 << 40,
            reserved: 8 << 20,
            busy: vec![0..8192, 1 << 20..3 << 20],
        };
        backing.lay_out(&room, &mut Progress::quiet()).unwrap();
        made.keep();
        assert_eq!(backing.len(), 1 << 40);
        let taken = backing.file.metadata().unwrap().blocks() * 512;
        assert!((8 << 20..9 << 20).contains(&taken), "{taken} bytes");
        // Only what is busy was written.
        let next = |from| rustix::fs::seek(&backing.file, rustix::fs::SeekFrom::Data(from));
        assert_eq!((next(0), next(1 << 20)), (Ok(0), Ok(1 << 20)));
        assert_eq!(next(3 << 20), Err(rustix::io::Errno::NXIO));
    }

    #[test]
    fn what_has_no_room_is_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let room = Room {
            len: 1 << 60,
            reserved: 1 << 60,
            busy: Vec::new(),
        };
        for len in [None, Some(12345)] {
            if let Some(len) = len {
                File::create(&path).unwrap().set_len(len).unwrap();
            }
            let mut backing = open(&path);
            let made = backing.made();
            let error = backing.lay_out(&room, &mut Progress::quiet());
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains("1048576TiB at once"), "{error}");
            assert!(error.contains("left"), "{error}");
            drop((made, backing));
            let found = fs::metadata(&path).map(|found| found.len());
            assert_eq!(found.ok(), len);
        }
        // Also where the system says so only later.
        let mut backing = open(&path);
        let made = backing.made();
        let room = Room {
            reserved: 0,
            ..room
        };
        assert!(backing.lay_out(&room, &mut Progress::quiet()).is_err());
        drop((made, backing));
        assert_eq!(fs::metadata(&path).unwrap().len(), 12345);
    }
}
