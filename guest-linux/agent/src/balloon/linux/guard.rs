//! The immutable flag of the balloon's files, and their names: what root does to them is repaired
//! or reported.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, IFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{LinuxFiles, by_fd, piece_name};
use crate::balloon::files::Piece;
use crate::error::{During, Result};
use crate::log;

impl LinuxFiles {
    pub(super) fn set_immutable(
        &self,
        file: impl AsFd,
        is_immutable: bool,
        name: impl Fn() -> String,
    ) -> Result<()> {
        let set = || {
            let flags = rustix::fs::ioctl_getflags(&file)?;
            let mut wanted = flags;
            wanted.set(IFlags::IMMUTABLE, is_immutable);
            if wanted != flags {
                rustix::fs::ioctl_setflags(&file, wanted)?;
            }
            Ok::<_, Errno>(())
        };
        let what = if is_immutable { "protect" } else { "unlock" };
        set().during(|| format!("{what} {}", name()))
    }

    /// Does something in the folder, which is immutable before and after.
    pub(super) fn in_folder<T>(&self, act: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let name = || self.path.display().to_string();
        self.set_immutable(&self.folder, false, name)?;
        let result = act(&self.folder);
        self.set_immutable(&self.folder, true, name)?;
        result
    }

    /// Does something with a piece that needs it writable.
    pub(super) fn in_piece<T>(
        &self,
        piece: Piece,
        act: impl FnOnce(&OwnedFd) -> Result<T>,
    ) -> Result<T> {
        let file = self.file(piece)?;
        let name = || self.name(piece);
        self.set_immutable(file, false, name)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let writable = rustix::fs::open(by_fd(file.as_fd()), flags, Mode::empty())
            .during(|| format!("open {}", name()));
        let result = writable.and_then(|file| act(&file));
        self.set_immutable(file, true, name)?;
        result
    }

    /// Whether the name of a piece leads to another file, or to none.
    pub(super) fn is_away(&self, piece: Piece, stat: &Stat) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = rustix::fs::statat(&self.folder, piece_name(piece).as_str(), flags);
        !found.is_ok_and(|found| found.st_ino == stat.st_ino)
    }

    /// Brings a piece back that was moved.
    pub(super) fn bring_back(&self, piece: Piece) -> Result<()> {
        let file = self.file(piece)?;
        let name = || self.name(piece);
        self.set_immutable(file, false, name)?;
        let result = self.in_folder(|folder| {
            let from = by_fd(file.as_fd());
            let flags = AtFlags::SYMLINK_FOLLOW;
            let to = piece_name(piece);
            rustix::fs::linkat(rustix::fs::CWD, from, folder, to.as_str(), flags)
                .during(|| format!("bring {} back", name()))
        });
        self.set_immutable(file, true, name)?;
        result
    }

    pub(super) fn tend_piece(&self, piece: Piece) -> Result<bool> {
        let file = self.file(piece)?;
        let stat = self.stat(file)?;
        let name = self.name(piece);
        if stat.st_nlink == 0 {
            if !self.told.contains(&piece) {
                log::error(format_args!(
                    "{name} was deleted. The host has its blocks, and the file system uses them \
                     only when this agent ends: grow the vSSD at the host until all blocks are \
                     here, and do not stop the agent or the guest before"
                ));
            }
            return Ok(true);
        }
        let flags = rustix::fs::ioctl_getflags(file).during(|| format!("look at {name}"))?;
        if !flags.contains(IFlags::IMMUTABLE) {
            self.set_immutable(file, true, || name.clone())?;
            log::warn(format_args!(
                "{name} was not immutable any more, and is again"
            ));
        }
        if self.is_away(piece, &stat) {
            self.bring_back(piece)?;
            log::warn(format_args!(
                "{name} was moved; it is linked there again. Remove the other name"
            ));
        }
        Ok(false)
    }
}
