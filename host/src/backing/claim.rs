//! An exclusive claim on a file or block device.
//!
//! A file is locked by flock(2), which another backend takes as well. On a block device
//! that is not enough: the lock belongs to the inode of the device node, of which there may be
//! several, and a file system that is mounted has none. There the kernel keeps one exclusive
//! holder for each device (O_EXCL), whatever the node: a backend, a mounted file system, swap
//! space, or a device on top of it, such as RAID, LVM or dm-crypt. A disk with a partition in
//! use cannot be claimed either, nor a partition of a disk in use.
//!
//! A process that is killed leaves transfers of its io_urings behind: the kernel closes the files of
//! the process without waiting for them. So the rings keep the descriptors of the claim as well, and
//! the claim lasts until no old transfer can reach the file, or a guest's memory, any more.
//!
//! A loop device is claimed with what is behind it, and with all other loop devices that lead to the
//! same bytes, as far as this process may open them: the file behind them may have no path any more.

use std::fs::{File, OpenOptions};
use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{FlockOperation, flock};

use super::OpenError;
use super::id::Id;
use super::loops::Loop;
use super::users;

/// How long to wait for a killed predecessor to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait for the transfers of a predecessor that has ended: a bound for an overloaded
/// disk.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(300);

/// The interval between attempts.
const INTERVAL: Duration = Duration::from_millis(10);

/// A claim; dropping it releases it.
#[derive(Debug)]
pub(super) struct Claim {
    /// An open file description of its own, read-only and through the page cache.
    file: File,
    /// The file behind a loop device, and other loop devices on that, claimed too.
    same: Vec<File>,
}

impl Claim {
    /// Claims the file or block device at `path`. A predecessor that was just killed holds the
    /// claim until its transfers have ended: its threads wait for their own, and its rings keep
    /// the claim.
    pub(super) fn take(path: &Path, is_device: bool) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let begun = Instant::now();
        let file = if is_device {
            open_exclusively(path, begun)?
        } else {
            File::open(path).map_err(failed)?
        };
        lock(&file, path, begun)?;
        let id = Id::of(&file.metadata().map_err(failed)?);
        if !is_device {
            let user = users::of_file(id).or_else(|| locked_range(&file));
            if let Some(by) = user {
                return Err(OpenError::Used {
                    path: path.to_owned(),
                    by,
                });
            }
        }
        let own = is_device.then(|| Loop::of(&file)).flatten();
        let same = match own {
            Some(own) => claim_behind(&own, id, path, begun)?,
            None => Vec::new(),
        };
        Ok(Self { file, same })
    }

    /// The file, to read what is there through the page cache.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The descriptors that hold it.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        iter::once(&self.file).chain(&self.same).map(File::as_fd)
    }

    /// Whether `other` is a description of the same file.
    pub(super) fn is_of(&self, other: &File) -> io::Result<bool> {
        let (one, other) = (self.file.metadata()?, other.metadata()?);
        Ok((one.dev(), one.ino(), one.rdev()) == (other.dev(), other.ino(), other.rdev()))
    }
}

/// Claims the file behind a loop device, and all other loop devices that lead to the same bytes.
fn claim_behind(own: &Loop, id: Id, path: &Path, begun: Instant) -> Result<Vec<File>, OpenError> {
    let mut claimed = Vec::new();
    let behind = users::file_behind(id).and_then(|path| File::open(path).ok());
    let is_it = |file: &File| file.metadata().is_ok_and(|m| Id::of(&m) == own.behind);
    if let Some(behind) = behind.filter(is_it) {
        lock(&behind, path, begun)?;
        claimed.push(behind);
    }
    for other in own.others() {
        match open_exclusively(&other, begun) {
            Ok(file) => claimed.push(file),
            Err(OpenError::Used { by, .. }) => {
                return Err(OpenError::Used {
                    path: path.to_owned(),
                    by: format!("{} leads to the same bytes, and {by}", other.display()),
                });
            }
            // It was detached meanwhile.
            Err(_) => {}
        }
    }
    Ok(claimed)
}

/// Logs, once, that the transfers of a predecessor are waited for.
fn log_wait(path: &Path, is_logged: &mut bool) {
    if !*is_logged {
        *is_logged = true;
        let (path, seconds) = (path.display(), TRANSFER_PATIENCE.as_secs());
        tracing::warn!(
            %path,
            "waiting up to {seconds} s for the transfers of a backend that has ended"
        );
    }
}

fn open_exclusively(path: &Path, begun: Instant) -> Result<File, OpenError> {
    let mut is_logged = false;
    loop {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL)
            .open(path);
        let error = match opened {
            Ok(file) => return Ok(file),
            Err(error) => error,
        };
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(OpenError::Open {
                path: path.to_owned(),
                source: error,
            });
        }
        let id = std::fs::metadata(path).map(|metadata| Id::of(&metadata));
        let lasting = id.as_ref().ok().and_then(|id| users::of_device(*id));
        let waited = begun.elapsed();
        let process = || id.ok().and_then(users::process_with_device);
        // What uses it in a lasting way does not end by itself.
        let by = lasting.or_else(|| (waited > PATIENCE).then(process)?);
        if by.is_some() || waited > TRANSFER_PATIENCE {
            return Err(OpenError::Used {
                path: path.to_owned(),
                by: by.unwrap_or_else(|| "the kernel holds it for another user".to_owned()),
            });
        }
        if waited > PATIENCE {
            log_wait(path, &mut is_logged);
        }
        thread::sleep(INTERVAL);
    }
}

fn lock(file: &File, path: &Path, begun: Instant) -> Result<(), OpenError> {
    let failed = |source| OpenError::Open {
        path: path.to_owned(),
        source,
    };
    let mut is_logged = false;
    while let Err(error) = flock(file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(error.into()));
        }
        let waited = begun.elapsed();
        if waited > PATIENCE {
            let id = Id::of(&file.metadata().map_err(failed)?);
            let process = users::process_with_lock(id);
            if process.is_some() || waited > TRANSFER_PATIENCE {
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    by: process
                        .map(|process| format!(" ({process})"))
                        .unwrap_or_default(),
                });
            }
            log_wait(path, &mut is_logged);
        }
        thread::sleep(INTERVAL);
    }
    Ok(())
}

/// The process that has locked a part of the file by fcntl(2), as QEMU locks its disks.
fn locked_range(file: &File) -> Option<String> {
    let mut range = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // A file system without locks has none.
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut range)).ok()?;
    if range.l_type == libc::F_UNLCK as libc::c_short {
        return None;
    }
    let process = if range.l_pid > 0 {
        users::process(range.l_pid)
    } else {
        users::process_with_file(file.as_raw_fd())
    };
    let process = process.unwrap_or_else(|| "another process".to_owned());
    Some(format!("{process} has locked a part of it"))
}
