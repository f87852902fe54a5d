//! The balloon's files in ext4, XFS or F2FS: a folder `.vssd-balloon` of files with numbers as
//! names.
//!
//! The folder and the files are immutable (`chattr +i`): so `rm`, `mv`, defragmenters and writers
//! fail, root's too, unless root takes the flag away first. The agent has each file open: its
//! blocks stay allocated even when it is removed. What happens to the files wakes the agent
//! by inotify.
//!
//! - `guard`: keeping the files as they are; `own_blocks`: what the file system keeps for itself

mod guard;
mod own_blocks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::Resource;

use super::files::{Extent, Files, Piece, Space};
use super::mount::{Kind, Mount};
use crate::disk::DeviceNumber;
use crate::error::{During, Error, Result};
use crate::ioctl::{self, FiemapExtent};
use crate::log;

/// The name of the balloon's folder.
const FOLDER: &str = ".vssd-balloon";

/// Bytes in a section of F2FS, in which it allocates pinned files.
const F2FS_SECTION: u64 = 2 << 20;

/// Longest piece where parts of one can be freed: few pieces for a large balloon, and few blocks
/// that a cancelled shrink has allocated in vain.
const PIECE: u64 = 1 << 30;

/// Longest piece where a piece is freed as a whole: what comes back is usable in such units.
const WHOLE_PIECE: u64 = 64 << 20;

/// What wakes the agent. The map of a file or its flags change only while it is open, and a change
/// of flags alone is no event.
const WATCHED: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_NOWRITE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::OPEN);

/// See the module.
#[derive(Debug)]
pub struct LinuxFiles {
    kind: Kind,
    /// Bytes in a block of the file system.
    block: u64,
    /// `.vssd-balloon`, for messages.
    path: PathBuf,
    folder: OwnedFd,
    pieces: BTreeMap<Piece, File>,
    events: OwnedFd,
    /// Pieces of which a message was written that need not be repeated.
    told: BTreeSet<Piece>,
    /// How many blocks the file system keeps for itself, while pieces may have these.
    kept_blocks: Option<u64>,
}

/// Where the balloon's file system is.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem {
    /// Its block device.
    pub device: DeviceNumber,
    /// Bytes in a block.
    pub block: u64,
    /// Bytes from one XFS allocation group to the next.
    pub group: Option<(u64, u32)>,
}

/// What can be said of a mounted file system before the host is there.
///
/// # Errors
/// When it does not tell.
pub fn file_system(mount: &Mount) -> Result<FileSystem> {
    let name = mount.point.display();
    let root = open_folder(&mount.point)?;
    let stat = rustix::fs::fstat(&root).during(|| format!("open {name}"))?;
    let space = rustix::fs::fstatvfs(&root).during(|| format!("open {name}"))?;
    let group = match mount.kind {
        Kind::Xfs => {
            let shape = ioctl::xfs_geometry(&root)
                .during(|| format!("ask the XFS at {name} for its shape"))?;
            let len = u64::from(shape.group_blocks) * u64::from(shape.block_size);
            Some((len, shape.group_count))
        }
        Kind::Ext4 | Kind::F2fs => None,
    };
    Ok(FileSystem {
        device: DeviceNumber::from_raw(stat.st_dev),
        block: space.f_frsize,
        group,
    })
}

fn open_folder(path: impl AsRef<std::path::Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).during(|| format!("open {}", path.display()))
}

impl LinuxFiles {
    /// The balloon of a file system with blocks of `block` bytes, and the pieces that it has.
    ///
    /// # Errors
    /// When it is not the agent's, or another agent has it.
    pub fn open(mount: &Mount, block: u64) -> Result<Self> {
        let path = mount.point.join(FOLDER);
        let name = path.display();
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).during(|| format!("make the folder {name}")),
        }
        let folder = open_folder(&path)?;
        rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::refused(format_args!(
                "another agent has {name}; run one for each file system"
            ))
        })?;
        raise_open_files();
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .during(|| "watch files".to_owned())?;
        let mut files = Self {
            kind: mount.kind,
            block,
            folder,
            pieces: BTreeMap::new(),
            events,
            told: BTreeSet::new(),
            kept_blocks: None,
            path: path.clone(),
        };
        files.open_pieces()?;
        files.watch_fd(files.folder.as_fd())?;
        files.set_immutable(&files.folder, true, || name.to_string())?;
        Ok(files)
    }

    fn open_pieces(&mut self) -> Result<()> {
        let name = self.path.display().to_string();
        let device = self.stat(&self.folder)?.st_dev;
        for entry in fs::read_dir(&self.path).during(|| format!("read {name}"))? {
            let entry = entry.during(|| format!("read {name}"))?.file_name();
            let number = entry.to_str().and_then(|text| text.parse().ok());
            let Some(piece) = number
                .map(Piece)
                .filter(|piece| entry == piece_name(*piece).as_str())
            else {
                log::warn(format_args!(
                    "{name} has a file {entry:?}, which is not the balloon's; it is ignored"
                ));
                continue;
            };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.folder, &entry, flags, Mode::empty())
                .during(|| format!("open {name}/{}", piece_name(piece)))?;
            let stat = self.stat(&file)?;
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            if !kind.is_file() || stat.st_dev != device || stat.st_nlink != 1 {
                return Err(Error::refused(format_args!(
                    "{name}/{} is not a file of the balloon's own: move it away",
                    piece_name(piece)
                )));
            }
            self.watch_fd(file.as_fd())?;
            self.pieces.insert(piece, file.into());
        }
        Ok(())
    }

    fn stat(&self, file: impl AsFd) -> Result<Stat> {
        rustix::fs::fstat(file).during(|| format!("look at {}", self.path.display()))
    }

    fn file(&self, piece: Piece) -> Result<&File> {
        let file = self.pieces.get(&piece);
        file.ok_or_else(|| Error::Failed(format!("{} is not open", self.name(piece))))
    }

    fn name(&self, piece: Piece) -> String {
        format!("{}/{}", self.path.display(), piece_name(piece))
    }

    /// By inode: a file that is moved elsewhere is still watched.
    fn watch_fd(&self, fd: BorrowedFd<'_>) -> Result<()> {
        inotify::add_watch(&self.events, by_fd(fd), WATCHED)
            .during(|| format!("watch {}", self.path.display()))?;
        Ok(())
    }
}

/// A path that leads to an open file, wherever it is.
fn by_fd(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn piece_name(piece: Piece) -> String {
    format!("{:08}", piece.0)
}

/// Each piece is a file that stays open.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer, fewer pieces can be made.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

impl Files for LinuxFiles {
    fn pieces(&self) -> Vec<Piece> {
        self.pieces.keys().copied().collect()
    }

    fn space(&mut self) -> Result<Space> {
        let space = rustix::fs::fstatvfs(&self.folder)
            .during(|| format!("ask {} for free space", self.path.display()))?;
        Ok(Space {
            total: space.f_blocks.saturating_mul(space.f_frsize),
            available: space.f_bavail.saturating_mul(space.f_frsize),
            free: space.f_bfree.saturating_mul(space.f_frsize),
        })
    }

    /// ext4 and XFS keep some blocks for their own metadata, which only they can have.
    fn use_all(&mut self, all: bool) -> Result<()> {
        let wanted = match (all, self.kept_blocks.take()) {
            (true, kept) => {
                self.kept_blocks = match kept {
                    None => self.own_blocks()?,
                    kept => kept,
                };
                0
            }
            (false, Some(kept)) => kept,
            (false, None) => return Ok(()),
        };
        self.set_own_blocks(wanted)
    }

    fn piece_len(&self) -> u64 {
        if self.frees_parts() {
            PIECE
        } else {
            WHOLE_PIECE
        }
    }

    fn granularity(&self) -> u64 {
        match self.kind {
            Kind::F2fs => F2FS_SECTION,
            Kind::Ext4 | Kind::Xfs => self.block,
        }
    }

    fn frees_parts(&self) -> bool {
        // F2FS punches no holes into pinned files.
        self.kind != Kind::F2fs
    }

    fn create(&mut self) -> Result<Option<Piece>> {
        let next = self
            .pieces
            .last_key_value()
            .map_or(0, |(last, _)| last.0.saturating_add(1));
        let piece = Piece(next);
        let name = self.name(piece);
        let file = self.in_folder(|folder| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            match rustix::fs::openat(folder, piece_name(piece).as_str(), flags, mode) {
                Err(Errno::NOSPC | Errno::DQUOT) => Ok(None),
                made => made.map(Some).during(|| format!("make {name}")),
            }
        })?;
        let Some(file) = file else { return Ok(None) };
        self.pieces.insert(piece, File::from(file));
        let file = self.file(piece)?;
        self.watch_fd(file.as_fd())?;
        match self.kind {
            Kind::F2fs => ioctl::pin(file).during(|| format!("pin {name}"))?,
            Kind::Xfs if ioctl::is_realtime(file).during(|| format!("look at {name}"))? => {
                return Err(Error::refused(format_args!(
                    "{name} is on the realtime device of the XFS, not on the vSSD"
                )));
            }
            Kind::Ext4 | Kind::Xfs => {}
        }
        Ok(Some(piece))
    }

    fn allocate(&mut self, piece: Piece, len: u64) -> Result<()> {
        let file = self.file(piece)?;
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // What was allocated before must not lie behind the end of the file: XFS frees that
            // some time later.
            Err(Errno::NOSPC | Errno::DQUOT) => {
                rustix::fs::ftruncate(file, len).during(|| format!("extend {}", self.name(piece)))
            }
            Err(errno) => Err(errno).during(|| format!("allocate {}", self.name(piece))),
        }
    }

    fn sync(&mut self, piece: Piece) -> Result<()> {
        let name = || self.name(piece);
        rustix::fs::fsync(self.file(piece)?).during(|| format!("sync {}", name()))?;
        rustix::fs::fsync(&self.folder).during(|| format!("sync {}", self.path.display()))?;
        if self.kind == Kind::F2fs {
            // Its fsync is of one file; that another file lost the same block is in a checkpoint.
            rustix::fs::syncfs(&self.folder).during(|| format!("sync {}", name()))?;
        }
        Ok(())
    }

    fn protect(&mut self, piece: Piece) -> Result<()> {
        self.set_immutable(self.file(piece)?, true, || self.name(piece))
    }

    fn extents(&mut self, piece: Piece, each: &mut dyn FnMut(Extent)) -> Result<()> {
        let is_f2fs = self.kind == Kind::F2fs;
        let mut written = 0;
        ioctl::extents(self.file(piece)?, |extent| {
            let is_written = !is_f2fs && extent.flags & FiemapExtent::UNWRITTEN == 0;
            written += u64::from(is_written) * extent.length;
            each(Extent {
                logical: extent.logical,
                physical: extent.physical,
                len: extent.length,
                is_fixed: extent.flags & FiemapExtent::LOOSE == 0,
            });
        })
        .during(|| format!("ask where {} lies", self.name(piece)))?;
        if written > 0 && self.told.insert(piece) {
            log::warn(format_args!(
                "{} was written to: what was written is lost where the host has the blocks",
                self.name(piece)
            ));
        }
        Ok(())
    }

    fn free(&mut self, piece: Piece, parts: &[Range<u64>]) -> Result<()> {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.in_piece(piece, |file| {
            for part in parts {
                rustix::fs::fallocate(file, punch, part.start, part.end - part.start)
                    .during(|| format!("free a part of {}", self.name(piece)))?;
            }
            Ok(())
        })
    }

    fn remove(&mut self, piece: Piece) -> Result<()> {
        let file = self.file(piece)?;
        let stat = self.stat(file)?;
        if stat.st_nlink > 0 && !self.is_away(piece, &stat) {
            self.set_immutable(file, false, || self.name(piece))?;
            self.in_folder(|folder| {
                let name = piece_name(piece);
                rustix::fs::unlinkat(folder, name.as_str(), AtFlags::empty())
                    .during(|| format!("remove {}", self.name(piece)))
            })?;
        }
        // The blocks are free once the file is closed.
        self.pieces.remove(&piece);
        self.told.remove(&piece);
        Ok(())
    }

    fn trim(&mut self) -> Result<()> {
        match ioctl::trim(&self.folder) {
            Ok(_) => Ok(()),
            // A disk without discard has nothing to be told.
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(()),
            Err(error) => Err(error).during(|| format!("trim {}", self.path.display())),
        }
    }

    fn tend(&mut self) -> Result<()> {
        // Whatever happened up to now is looked at below.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        while rustix::io::read(&self.events, &mut buffer[..])
            .is_ok_and(|(some, _)| !some.is_empty())
        {}
        self.set_immutable(&self.folder, true, || self.path.display().to_string())?;
        for piece in self.pieces() {
            if self.tend_piece(piece)? {
                self.told.insert(piece);
            }
        }
        Ok(())
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        Some(self.events.as_fd())
    }
}
