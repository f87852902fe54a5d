//! The journal of a pool on its own backing: which vSSD holds which blocks, and where they lie.
//!
//! ```text
//!  ┌──────────────┬──────────────┬──────────┬────────┬────────┬───────────────────
//!  │ superblock A │ superblock B │ sessions │ area 0 │ area 1 │ physical blocks …
//!  │    4 KiB     │    4 KiB     │  64 KiB  │        │        │ at a multiple of 2 MiB
//!  └──────────────┴──────────────┴──────────┴────────┴────────┴───────────────────
//!                                             │ commit │ commit │ commit │ …
//! ```
//!
//! The superblock with the highest epoch names the area that counts. An area is a sequence of
//! *commits*, each a header and records, checked by a CRC and chained to the one before by its CRC,
//! so that leftovers are never taken for new commits: an area needs no zeros. When an area has
//! grown to several times the snapshot that it begins with, the whole state is written to the other
//! one, and the other superblock flips to it ([`Journal::compact`]).
//!
//! Each opening of the pool is a [session](session), which marks what it writes.
//!
//! A *hard* commit is durable, and all commits before it with it: the backing is flushed if any of
//! them refers to data, the commit is written, and the backing is flushed again. So a block is
//! never recorded at a physical block before its data are durable there; otherwise it could read
//! what another VM left. A *soft* commit is written and no more. It survives the death of this
//! process, which the guest does not notice, but not the loss of power, which ends the guest too.
//! It counts if a hard one follows, or if the machine was not booted since.
//!
//! A key-value store could hold the same: redb and LMDB (copy-on-write B+trees), sled and
//! SQLite were weighed. All of them keep a file of their own, which a bare block device has
//! no room for; their keys make 4 Mi updates of a shrink by 16 GiB of scattered blocks,
//! which is one record of 1 MiB here; and none has a commit without a sync that is safe
//! against lost power, which the first write to a block needs.

mod buffer;
mod image;
pub mod layout;
mod open;
mod overlap;
mod record;
mod replay;
mod session;
mod suspects;
mod window;

#[cfg(test)]
mod overlap_tests;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::sync::Arc;

pub use image::{Fault, PoolImage, VolumeImage};
pub use open::shape;
pub use overlap::Overlap;
pub use record::Batch;
pub use replay::Reading;
pub use session::Session;
pub use suspects::{Evidence, Suspect};

use self::buffer::AlignedBuffer;
use self::layout::{
    COMMIT_HEADER_LEN, CommitHeader, HARD, LONGEST_COMMIT, PAGE, SNAPSHOT, Superblock,
};
use super::Strength;
use crate::backing::Backing;

/// Identifies a boot of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// The current boot (Linux, `/proc/sys/kernel/random/boot_id`).
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn current() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        u128::from_str_radix(&digits, 16)
            .map(|id| Self(id.to_be_bytes()))
            .map_err(io::Error::other)
    }
}

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The backing failed.
    #[error("the backing failed")]
    Backing(#[from] io::Error),
    /// There is none.
    #[error(
        "there is no pool here: create one with --create on an empty file, or with `vssdctl pool \
         create`"
    )]
    NoPool,
    /// It has another format.
    #[error(
        "the pool has format {0}, but this program knows format 2 only: use the version that \
         created it"
    )]
    Version(u32),
    /// The backing is shorter than the pool.
    #[error("the backing has {have} bytes, but the pool on it takes {need}: it was cut short")]
    Short {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        need: u64,
    },
    /// A durable commit is behind one that cannot be read.
    #[error(
        "the journal is damaged at byte {at}: a later commit is intact; restore the pool from a \
         backup"
    )]
    Damaged {
        /// Where the commit is that cannot be read.
        at: u64,
    },
    /// A commit is intact, but contradicts the ones before it.
    #[error("the commit at byte {at} of the journal contradicts those before it")]
    Contradiction {
        /// Where the commit is.
        at: u64,
    },
    /// The area is full.
    #[error("{need} bytes do not fit the journal, which has room for {room}")]
    Full {
        /// Bytes that the commit takes.
        need: u64,
        /// Bytes there are.
        room: u64,
    },
    /// A flush failed: which of the writes before it are durable is unknown.
    #[error("a flush failed, so nothing more can be recorded: restart the backend")]
    Poisoned,
    /// A superblock that was durable is lost.
    #[error(
        "the newer of the two superblocks is damaged, and the older one is out of date: restore \
         the pool from a backup"
    )]
    OldSuperblock,
    /// Another backend has the pool now, or wrote to it.
    #[error(
        "{0}; this backend records nothing any more: stop both backends, then run \
         `vssdctl pool check`"
    )]
    Foreign(String),
    /// Two backends had the pool at the same time.
    #[error("{0}; `vssdctl pool check` lists the blocks that either could have changed")]
    Overlap(String),
}

/// Counters of the commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Commits.
    pub commits: u64,
    /// Bytes of these, padding included.
    pub bytes: u64,
    /// Compactions.
    pub compactions: u64,
}

/// See the module.
pub struct Journal {
    backing: Arc<dyn Backing>,
    superblock: Superblock,
    boot: BootId,
    end: End,
    /// Where the last commit was written, and its checksum.
    last: Option<(u64, u32)>,
    /// The session that writes; `None` while it is only read.
    session: Option<Session>,
    /// What another session did that ended this one.
    foreign: Option<String>,
    /// A soft commit came after the last hard one.
    unsealed: bool,
    poisoned: bool,
    buffer: AlignedBuffer,
    work: Work,
}

/// Where an area goes on.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Bytes from the area's beginning.
    at: u64,
    /// Of the next commit.
    sequence: u64,
    /// Checksum of the last commit.
    previous: u32,
}

impl End {
    /// The position after one more commit.
    fn after(self, header: &CommitHeader) -> Self {
        Self {
            at: self.at + header.commit_len(),
            sequence: self.sequence + 1,
            previous: header.crc,
        }
    }
}

/// A random lower half, and the upper half after that of `before`.
fn next_epoch(before: u64) -> u64 {
    ((before >> 32) + 1) << 32 | u64::from(rand::random::<u32>())
}

/// Erases the superblocks and sessions of a pool; the rest stays.
///
/// # Errors
/// When it cannot be written.
pub fn erase(backing: &dyn Backing) -> io::Result<()> {
    let mut buffer = AlignedBuffer::default();
    buffer.get(layout::AREAS as usize).fill(0);
    let len = backing.len().min(layout::AREAS);
    buffer.write(backing, 0, len as usize)?;
    backing.flush()
}

impl Journal {
    /// Where a byte of the live area is on the backing.
    fn position(&self, at: u64) -> u64 {
        self.superblock.area(self.superblock.live) + at
    }

    /// Where the physical blocks of the pool begin, bytes.
    pub fn data(&self) -> u64 {
        self.superblock.data
    }

    /// Commits and compactions since it was opened.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Appends records. Once this has returned, they are as durable as `strength` says. A hard
    /// commit first makes every write to the backing durable, if `sync` says that its records, or
    /// the requests that wait for it, depend on that. When it fails, none of them will ever count.
    ///
    /// # Errors
    /// When the backing fails, or the area is full.
    pub fn commit(
        &mut self,
        batch: &Batch,
        strength: Strength,
        sync: bool,
    ) -> Result<(), JournalError> {
        self.check_writable()?;
        // Soft commits before it refer to data that must be durable with them.
        if strength == Strength::Hard && (sync || self.unsealed) {
            self.flush()?;
        }
        if batch.is_empty() && !self.unsealed {
            return Ok(());
        }
        self.write_commit(batch, strength)
    }

    fn check_writable(&self) -> Result<(), JournalError> {
        match &self.foreign {
            Some(foreign) => Err(JournalError::Foreign(foreign.clone())),
            None if self.poisoned => Err(JournalError::Poisoned),
            None => Ok(()),
        }
    }

    fn write_commit(&mut self, batch: &Batch, strength: Strength) -> Result<(), JournalError> {
        let need = self.make_sure_it_fits(batch)?;
        let before = (self.end, self.last);
        let flags = match strength {
            Strength::Hard => HARD,
            Strength::Soft => 0,
        };
        if let Err(error) = self.append(batch, flags) {
            (self.end, self.last) = before;
            self.take_back();
            return Err(error.into());
        }
        if strength == Strength::Hard {
            self.flush()?;
        }
        self.unsealed = strength == Strength::Soft;
        self.work.commits += 1;
        self.work.bytes += need;
        Ok(())
    }

    /// Whether a soft commit is the last: power may take it, and the data that it refers to.
    pub fn is_unsealed(&self) -> bool {
        self.unsealed
    }

    /// A flush of the backing has failed. The system may mark lost writes as clean and report no
    /// further error: nothing may rely on them.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.backing.flush();
        if flushed.is_err() {
            self.poison();
        }
        flushed
    }

    /// The bytes that a commit takes, if they are left.
    fn make_sure_it_fits(&self, batch: &Batch) -> Result<u64, JournalError> {
        let need = layout::commit_len(batch.bytes().len());
        let room = self.room().min(LONGEST_COMMIT);
        if need > room {
            Err(JournalError::Full { need, room })
        } else {
            Ok(need)
        }
    }

    /// Writes a commit at the end of the live area.
    fn append(&mut self, batch: &Batch, flags: u32) -> io::Result<()> {
        let len = layout::commit_len(batch.bytes().len());
        let mut header = CommitHeader {
            flags,
            epoch: self.superblock.epoch,
            sequence: self.end.sequence,
            payload_len: batch.bytes().len() as u32,
            previous: self.end.previous,
            boot: self.boot.0,
            session: self.session().id,
            crc: 0,
        };
        let commit = self.buffer.get(len as usize);
        let (whole, padding) = commit.split_at_mut(COMMIT_HEADER_LEN + batch.bytes().len());
        padding.fill(0);
        whole[COMMIT_HEADER_LEN..].copy_from_slice(batch.bytes());
        header.encode(whole);
        header.crc = CommitHeader::checksum(whole);
        header.encode(whole);
        let position = self.position(self.end.at);
        self.buffer.write(&*self.backing, position, len as usize)?;
        self.last = Some((position, header.crc));
        self.end = self.end.after(&header);
        Ok(())
    }

    /// Makes sure that a commit which failed half-way is never read.
    fn take_back(&mut self) {
        self.buffer.get(PAGE as usize).fill(0);
        let at = self.position(self.end.at);
        let erased = self
            .buffer
            .write(&*self.backing, at, PAGE as usize)
            .and_then(|()| self.flush());
        self.poisoned |= erased.is_err();
    }

    /// Bytes that are left in the area.
    pub fn room(&self) -> u64 {
        self.superblock.used_len().saturating_sub(self.end.at)
    }

    /// Whether the area has grown so much that it is to be rewritten.
    pub fn wants_compaction(&self) -> bool {
        self.end.at > self.superblock.compacted_at()
    }

    /// Starts the other area: `describe` writes the whole state, in any number of batches. Soft
    /// commits are durable then. When it fails, the journal goes on as before.
    ///
    /// # Errors
    /// When the backing fails, or the state does not fit.
    pub fn compact(
        &mut self,
        describe: impl FnOnce(&mut Sink<'_>) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        self.check_writable()?;
        self.verify()?;
        let (old, end, last) = (self.superblock, self.end, self.last);
        self.superblock = Superblock {
            epoch: next_epoch(old.epoch),
            live: 1 - old.live,
            // Until its length is known, all of the area.
            snapshot: old.area_len,
            session: self.session().id,
            ..old
        };
        self.end = End::default();
        let flipped = describe(&mut Sink(self)).and_then(|()| {
            // The data that the snapshot refers to have to be durable as well.
            self.flush()?;
            self.verify_against(old, last)?;
            self.superblock.snapshot = self.end.at;
            self.write_superblock(self.superblock).map_err(|error| {
                // It may have been written nevertheless; then the old area is not live any more.
                self.poisoned = true;
                error.into()
            })
        });
        if flipped.is_err() {
            (self.superblock, self.end, self.last) = (old, end, last);
        } else {
            self.unsealed = false;
            self.work.compactions += 1;
        }
        flipped
    }
}

/// Takes the state of a pool for a new area.
pub struct Sink<'a>(&'a mut Journal);

impl Sink<'_> {
    /// Writes a part of it.
    ///
    /// # Errors
    /// When the backing fails, or it does not fit.
    pub fn push(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.0.work.bytes += self.0.make_sure_it_fits(batch)?;
        Ok(self.0.append(batch, HARD | SNAPSHOT)?)
    }
}
