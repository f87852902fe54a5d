//! A balloon: files that hold the blocks which the device has, so that the file system uses them
//! for nothing else.
//!
//! ```text
//!  shrink:  create ─ allocate ─ sync ─ read extents ─ protect ─▶ SURRENDER ─▶ the device has them
//!  grow:    ACCEPT, the device gives them back ─▶ free (parts of) pieces ─▶ trim
//! ```
//!
//! One rule holds at each step, also when the guest dies there: **a block that the device has is in
//! a piece that is on disk.** So a block leaves the guest only after `sync`, and a piece is freed
//! only where the list says that the blocks are held. What is in a piece and held (*surplus*)
//! is where the guest died in between: it goes first at the next shrink, and is freed otherwise. No
//! other record is kept; the pieces and the device's list are compared whenever the list was read
//! anew.
//!
//! | the guest dies after | pieces | the device has | next time |
//! | --- | --- | --- | --- |
//! | create | empty, or none | nothing of it | removed |
//! | allocate | any part, or none | nothing of it | surplus |
//! | sync, protect | all | nothing of it | surplus |
//! | SURRENDER was sent | all | all or nothing of it | nothing to do, or surplus |
//! | ACCEPT was answered | all | less | surplus |
//! | free | all or less | less | surplus, or nothing to do |
//!
//! A block that the device has and no piece covers is *exposed*: it was taken by force, or a
//! piece was deleted or moved. The file system may use it, and fail. The balloon then takes all free
//! space until it has the block, and frees the rest.
//!
//! - [`files`]: what is needed of a file system; [`linux`]: Linux' ext4, XFS and F2FS
//! - [`layout`]: which blocks of the vSSD an extent covers

pub mod files;
pub mod layout;
pub mod linux;
#[cfg(test)]
mod model;
pub mod mount;
mod spent;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::os::fd::BorrowedFd;

use vssd::block_set::BlockSet;

use self::files::{Extent, Files, Piece};
use self::layout::Layout;
use self::spent::{Spent, timed};
use crate::error::Result;
use crate::log;
use crate::size::{Bytes, Reserve};
use crate::source::{Choice, Source, View};

/// How many pieces in a row may cover no block that can be given up, as where the file system puts
/// them at the start of the disk.
const FRUITLESS_MAX: u32 = 64;

/// See the module.
#[derive(Debug)]
pub struct Balloon<F> {
    files: F,
    layout: Layout,
    reserve: Reserve,
    /// Units of all pieces, as far as they were read.
    units: BlockSet,
    /// All pieces were read since the last time that something may have changed.
    is_read: bool,
    /// Exposed blocks that could not be had back.
    given_up: u32,
    needs_trim: bool,
    /// Extents that are not usable were reported.
    is_loose_told: bool,
    spent: Spent,
}

impl<F: Files> Balloon<F> {
    /// A balloon of the pieces that there are.
    pub fn new(files: F, layout: Layout, reserve: Reserve) -> Self {
        Self {
            units: layout.no_units(),
            files,
            layout,
            reserve,
            is_read: false,
            given_up: 0,
            needs_trim: false,
            is_loose_told: false,
            spent: Spent::default(),
        }
    }

    /// Reads where all pieces lie.
    fn read(&mut self) -> Result<()> {
        self.is_read = false;
        self.units.clear();
        for piece in self.files.pieces() {
            self.read_piece(piece)?;
        }
        self.is_read = true;
        Ok(())
    }

    fn read_piece(&mut self, piece: Piece) -> Result<()> {
        let Self {
            files,
            layout,
            units,
            spent,
            ..
        } = self;
        let mut loose = 0;
        let mut cover = |extent: Extent| {
            if extent.is_fixed {
                layout.cover(units, extent.physical..extent.physical + extent.len);
            } else {
                loose += extent.len;
            }
        };
        timed(&mut spent.map, || files.extents(piece, &mut cover))?;
        if loose > 0 && !std::mem::replace(&mut self.is_loose_told, true) {
            log::warn(format_args!(
                "{} of balloon file {} are shared or not placed, and are not given up: it was \
                 copied or changed",
                Bytes(loose),
                piece.0
            ));
        }
        Ok(())
    }

    /// Blocks of the pieces that are held and can be given up.
    fn surplus(&self, held: &BlockSet) -> BlockSet {
        let mut surplus = self.layout.whole_blocks(&self.units);
        surplus.intersect(held);
        self.layout.remove_kept(&mut surplus);
        surplus
    }

    /// Blocks of the file system that the device has and that no piece covers.
    fn exposed(&self, taken: &BlockSet) -> BlockSet {
        let mut exposed = taken.clone();
        exposed.subtract(&self.layout.whole_blocks(&self.units));
        self.layout.retain_own(&mut exposed);
        exposed
    }

    /// Adds pieces until they cover all blocks that the device has, or there is no space. Each takes
    /// some of that, so this ends.
    fn take_free_space(&mut self, taken: &BlockSet) -> Result<()> {
        while !self.exposed(taken).is_empty() {
            let free = self.files.space()?.free;
            if !self.add_piece(self.files.piece_len(), free)? {
                break;
            }
        }
        Ok(())
    }

    /// Makes a piece that is safe to give up, of about `wanted` bytes in `room`; false when there is
    /// no space for one.
    fn add_piece(&mut self, wanted: u64, room: u64) -> Result<bool> {
        let step = self.files.granularity();
        let len = wanted
            .next_multiple_of(step)
            .min(room / step * step)
            .min(self.files.piece_len());
        if len == 0 {
            return Ok(false);
        }
        // What is read of a piece that is removed again must not count.
        self.is_read = false;
        let Some(piece) = self.files.create()? else {
            self.read()?;
            return Ok(false);
        };
        let made = self.fill(piece, len);
        // A piece that is not safe is no use; one that could not be filled at all neither.
        if !matches!(made, Ok(true)) {
            self.files.remove(piece)?;
        }
        self.is_read = made.is_ok();
        made
    }

    /// Allocates a piece, and makes it safe. Whether it has any extents now: XFS allocates nothing
    /// where not all fits, so less is tried then.
    fn fill(&mut self, piece: Piece, mut len: u64) -> Result<bool> {
        let Self { files, spent, .. } = self;
        let step = files.granularity();
        let mut is_filled = false;
        while !is_filled && len > 0 {
            timed(&mut spent.allocate, || files.allocate(piece, len))?;
            let mut look = |_| is_filled = true;
            timed(&mut spent.map, || files.extents(piece, &mut look))?;
            len = len / 2 / step * step;
        }
        if is_filled {
            timed(&mut spent.sync, || {
                files.sync(piece)?;
                files.protect(piece)
            })?;
            self.read_piece(piece)?;
        }
        Ok(is_filled)
    }

    /// Blocks to give up: those that pieces cover already, or of a new piece.
    fn pick(&mut self, held: &BlockSet, count: u32) -> Result<Choice> {
        if !self.is_read {
            self.woken(View {
                held,
                leaving: None,
            })?;
        }
        let block = u64::from(self.layout.geometry().block_size());
        let mut surplus = self.surplus(held);
        for _ in 0..FRUITLESS_MAX {
            if !surplus.is_empty() {
                return Ok(Choice::Some(surplus.last(count)));
            }
            let space = self.files.space()?;
            let room = space.available.saturating_sub(self.reserve.of(space.total));
            if !self.add_piece(u64::from(count) * block, room)? {
                break;
            }
            surplus = self.surplus(held);
        }
        Ok(Choice::Last(surplus.last(count)))
    }

    /// Frees what is in the pieces and not in `gone`; removes those that hold nothing else. These go
    /// first: where no space at all is left, XFS can free no part of a file.
    fn free_outside(&mut self, gone: &BlockSet) -> Result<()> {
        self.is_read = false;
        for piece in self.files.pieces() {
            if self.parts_outside(piece, gone)?.is_none() {
                self.files.remove(piece)?;
                self.needs_trim = true;
            }
        }
        if self.files.frees_parts() {
            for piece in self.files.pieces() {
                let parts = self.parts_outside(piece, gone)?.unwrap_or_default();
                if !parts.is_empty() {
                    self.files.free(piece, &parts)?;
                    self.needs_trim = true;
                }
            }
        }
        self.read()
    }

    /// The parts of a piece that lie in none of the blocks in `gone`; `None` when that is all of it.
    fn parts_outside(&mut self, piece: Piece, gone: &BlockSet) -> Result<Option<Vec<Range<u64>>>> {
        let (mut parts, mut is_all) = (Vec::new(), true);
        let layout = &self.layout;
        self.files.extents(piece, &mut |extent| {
            let physical = extent.physical..extent.physical + extent.len;
            let mut outside = 0;
            layout.parts_outside(physical, gone, |part| {
                let len = part.end - part.start;
                outside += len;
                let start = extent.logical + (part.start - extent.physical);
                add(&mut parts, start..start + len);
            });
            is_all &= outside == extent.len;
        })?;
        Ok((!is_all).then_some(parts))
    }

    /// Looks for exposed blocks, and takes free space until they are covered.
    fn cover_exposed(&mut self, taken: &BlockSet) -> Result<()> {
        let exposed = self.exposed(taken).len();
        // Those that could not be had back before can be in use only: a full file system is worse
        // than another attempt is worth.
        if exposed <= self.given_up {
            self.given_up = exposed;
            return Ok(());
        }
        log::error(format_args!(
            "{exposed} blocks of this file system are with the host, and no balloon file covers \
             them: they were taken by force, or a balloon file was deleted, moved or changed. \
             Taking all free space until they are covered"
        ));
        // Once: what fails now fails again, and each attempt fills the file system.
        self.given_up = exposed;
        let result = self
            .files
            .use_all(true)
            .and_then(|()| self.take_free_space(taken));
        self.files.use_all(false)?;
        result?;
        self.given_up = self.exposed(taken).len();
        if self.given_up == 0 {
            log::info("all of them are covered again, and nothing was lost");
        } else {
            let size = u64::from(self.layout.geometry().block_size()) * u64::from(self.given_up);
            log::error(format_args!(
                "{} of them are in use by the file system or cannot be allocated: it fails there. \
                 Grow the vSSD by {} at the host now, unmount, and check the file system",
                self.given_up,
                Bytes(size)
            ));
        }
        Ok(())
    }
}

/// Adds a range to the last one if it continues that.
fn add(parts: &mut Vec<Range<u64>>, part: Range<u64>) {
    match parts.last_mut() {
        Some(last) if last.end == part.start => last.end = part.end,
        _ => parts.push(part),
    }
}

impl<F: Files> Source for Balloon<F> {
    fn listed(&mut self, view: View<'_>) -> Result<()> {
        self.woken(view)
    }

    fn choose(&mut self, held: &BlockSet, count: u32) -> Result<Choice> {
        let choice = self.pick(held, count)?;
        let is_all = match &choice {
            Choice::Some(blocks) => blocks.len() == count,
            Choice::Last(_) | Choice::Later(_) => true,
        };
        if is_all && !self.spent.is_none() {
            log::info(format_args!("balloon files: {}", self.spent));
            self.spent = Spent::default();
        }
        Ok(choice)
    }

    fn release(&mut self, held: &BlockSet) -> Result<()> {
        let gone = View {
            held,
            leaving: None,
        };
        self.free_outside(&gone.gone())
    }

    fn lost(&mut self, view: View<'_>) -> Result<()> {
        self.woken(view)
    }

    fn settled(&mut self) -> Result<()> {
        self.is_read = false;
        // What a grow took does not count for the next shrink.
        self.spent = Spent::default();
        if std::mem::take(&mut self.needs_trim) {
            self.files.trim()?;
        }
        Ok(())
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.files.watch()
    }

    fn woken(&mut self, view: View<'_>) -> Result<()> {
        self.files.tend()?;
        self.read()?;
        self.cover_exposed(&view.taken())
    }
}
