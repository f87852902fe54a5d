//! What a pool remembers on its own medium: who holds what, and where it lies.
//!
//! ```text
//!  ┌──────────────┬──────────────┬──────────┬────────┬────────┬───────────────────
//!  │ superblock A │ superblock B │ sessions │ area 0 │ area 1 │ places …
//!  │    4 KiB     │    4 KiB     │  64 KiB  │        │        │ at a multiple of 2 MiB
//!  └──────────────┴──────────────┴──────────┴────────┴────────┴───────────────────
//!                                             │ commit │ commit │ commit │ …
//! ```
//!
//! The superblock with the highest epoch names the area that counts. An area is a
//! sequence of *commits*, each a header and records, checked by a CRC and
//! chained to the one before by its CRC, so that nothing left over from before is
//! taken for new: an area needs no zeros. When an area has grown to several times the snapshot that
//! it begins with, the whole state is written to the other one, and the other superblock
//! flips to it ([`Journal::compact`]).
//!
//! Each opening of the pool is a [session](session), which marks what it writes.
//!
//! A *hard* commit lasts, and all commits before it with it: the medium is flushed if any of them
//! speaks of data, the commit written, the medium flushed again. So a block is never on record at a
//! place before its data are there, or what another VM left at the place could be read.
//! A *soft* commit is written and no more. It survives the death of this process, which
//! the guest does not notice, but not the loss of power, which ends the guest too. It
//! counts if a hard one follows, or if the machine was not booted since.
//!
//! A key-value store could hold the same: redb and LMDB (copy-on-write B+trees), sled and
//! SQLite were weighed. All of them keep a file of their own, which a bare block device has
//! no room for; their keys make 4 Mi updates of a shrink by 16 GiB of scattered blocks,
//! which is one record of 1 MiB here; and none has a commit without a sync that is safe
//! against lost power, which the first write to a block needs.

mod image;
pub mod layout;
mod overlap;
mod record;
mod replay;
mod session;
mod window;

#[cfg(test)]
mod overlap_tests;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::sync::Arc;

pub use image::{Fault, PoolImage, VolumeImage};
pub use overlap::{Overlap, Suspect};
pub use record::Batch;
pub use replay::Reading;
pub use session::Session;

use self::layout::{
    AREAS, AlignedBuffer, COMMIT_HEADER_LEN, CommitHeader, HARD, LONGEST_COMMIT, PAGE, SESSIONS,
    SNAPSHOT, Superblock,
};
use super::{Shape, Strength};
use crate::medium::Medium;

/// Names the time since the machine was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// That of now (Linux, `/proc/sys/kernel/random/boot_id`).
    ///
    /// # Errors
    /// When the system does not say.
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
    /// The medium failed.
    #[error("the medium failed")]
    Medium(#[from] io::Error),
    /// There is none.
    #[error(
        "there is no pool here: make one with --create on an empty file, or with `vssdctl pool create`"
    )]
    NoPool,
    /// It is of another time.
    #[error(
        "the pool here has format {0}, and this program knows format 2 only: use it with the version \
         that made it"
    )]
    Version(u32),
    /// The medium is shorter than the pool.
    #[error("the medium has {have} bytes, but the pool on it takes {need}: it was cut short")]
    Short {
        /// Bytes there are.
        have: u64,
        /// Bytes there should be.
        need: u64,
    },
    /// A durable commit is behind one that cannot be read.
    #[error(
        "the journal is damaged at byte {at}: a later commit is whole; restore the pool from a copy"
    )]
    Damaged {
        /// Where the commit is that cannot be read.
        at: u64,
    },
    /// A commit is whole, and what it says cannot be.
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
    /// A flush failed: nobody knows what of the writes before it lasts.
    #[error("nothing can be recorded since a flush failed: start the backend anew")]
    Poisoned,
    /// A superblock is lost that had become durable.
    #[error(
        "the newer of the two superblocks is damaged: restore the pool from a copy, since the older \
         one says what is no longer so"
    )]
    OldSuperblock,
    /// Another backend has the pool now, or wrote to it.
    #[error(
        "{0}; nothing is recorded here any more: stop both backends, then `vssdctl pool check`"
    )]
    Foreign(String),
    /// Two backends had the pool at the same time.
    #[error("{0}; `vssdctl pool check` lists the blocks that are in doubt")]
    Overlap(String),
}

/// What was committed, for whoever counts.
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
    medium: Arc<dyn Medium>,
    superblock: Superblock,
    boot: BootId,
    end: End,
    /// Where the last commit was written, and its checksum.
    last: Option<(u64, u32)>,
    /// Who writes; `None` as long as it is only read.
    session: Option<Session>,
    /// What another session did, which ended this one.
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
    /// Behind one commit more.
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

/// Makes a medium no pool any more: its superblocks and sessions go, the rest stays.
///
/// # Errors
/// When it cannot be written.
pub fn erase(medium: &dyn Medium) -> io::Result<()> {
    let mut buffer = AlignedBuffer::default();
    buffer.get(layout::AREAS as usize).fill(0);
    let len = medium.len().min(layout::AREAS);
    buffer.write(medium, 0, len as usize)?;
    medium.flush()
}

/// The two superblocks of a pool.
struct Superblocks {
    found: [Option<Superblock>; 2],
    other_version: Option<u32>,
}

impl Superblocks {
    fn read(medium: &dyn Medium) -> io::Result<Self> {
        let mut buffer = AlignedBuffer::default();
        let len = medium.len().min(SESSIONS) / PAGE * PAGE;
        Ok(Self::decode(buffer.read(medium, 0, len as usize)?))
    }

    fn decode(pages: &[u8]) -> Self {
        let mut all = Self {
            found: [None; 2],
            other_version: None,
        };
        for (superblock, page) in all.found.iter_mut().zip(pages.chunks_exact(PAGE as usize)) {
            *superblock = Superblock::decode(page);
            all.other_version = all.other_version.or(Superblock::other_version(page));
        }
        all
    }

    fn newest(&self) -> Result<Superblock, JournalError> {
        let newest = self.found.into_iter().flatten().max_by_key(|s| s.epoch);
        newest.ok_or(match self.other_version {
            Some(version) => JournalError::Version(version),
            None => JournalError::NoPool,
        })
    }
}

/// The shape of the pool on a medium.
///
/// # Errors
/// When there is none.
pub fn shape(medium: &dyn Medium) -> Result<Shape, JournalError> {
    Ok(Superblocks::read(medium)?.newest()?.shape)
}

impl Journal {
    /// Makes a pool of that shape, without volumes, whatever the medium holds.
    ///
    /// # Errors
    /// When the medium is too small or fails.
    pub fn create(
        medium: Arc<dyn Medium>,
        shape: Shape,
        boot: BootId,
    ) -> Result<Self, JournalError> {
        // Behind those of a pool that was there before.
        let before = Superblocks::read(&*medium)?.newest();
        let epoch = next_epoch(before.map_or(0, |superblock| superblock.epoch));
        let session = Session::new(0, boot);
        let first = Superblock::new(shape, epoch, 0, session.id);
        let mut journal = Self::at(medium, first, boot)?;
        erase(&*journal.medium)?;
        session.write(&*journal.medium)?;
        // Two, so that one that is missing is one that was lost.
        journal.write_superblock(first)?;
        let second = Superblock::new(shape, next_epoch(epoch), 1, session.id);
        journal.write_superblock(second)?;
        journal.begin(session)?;
        Ok(journal)
    }

    /// One that has read nothing yet.
    fn at(
        medium: Arc<dyn Medium>,
        superblock: Superblock,
        boot: BootId,
    ) -> Result<Self, JournalError> {
        let (have, need) = (medium.len(), superblock.pool_len());
        if have < need {
            return Err(JournalError::Short { have, need });
        }
        Ok(Self {
            medium,
            superblock,
            boot,
            end: End::default(),
            last: None,
            session: None,
            foreign: None,
            unsealed: false,
            poisoned: false,
            buffer: AlignedBuffer::default(),
            work: Work::default(),
        })
    }

    fn write_superblock(&mut self, superblock: Superblock) -> io::Result<()> {
        let page = superblock.encode();
        self.buffer.get(page.len()).copy_from_slice(&page);
        self.buffer
            .write(&*self.medium, superblock.offset(), page.len())?;
        self.medium.flush()?;
        self.superblock = superblock;
        Ok(())
    }

    /// Reads the pool on a medium, and writes nothing.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn read(medium: Arc<dyn Medium>, boot: BootId) -> Result<Reading, JournalError> {
        let superblocks = Superblocks::read(&*medium)?;
        let mut journal = Self::at(medium, superblocks.newest()?, boot)?;
        if superblocks.found.contains(&None) && journal.was_left_behind()? {
            return Err(JournalError::OldSuperblock);
        }
        let (image, overlap) = journal.replay()?;
        Ok(Reading {
            journal,
            image,
            overlap,
        })
    }

    /// Opens the pool on a medium to write. If another backend has it open, that one stops.
    ///
    /// # Errors
    /// When there is none, it is damaged, or two had it at the same time.
    pub fn open(medium: Arc<dyn Medium>, boot: BootId) -> Result<(Self, PoolImage), JournalError> {
        let refused = |overlap: Option<Overlap>| match overlap {
            Some(overlap) => Err(JournalError::Overlap(overlap.summary())),
            None => Ok(()),
        };
        Superblocks::read(&*medium)?.newest()?;
        // No backend that runs is stopped for one that will be refused.
        let noted = session::all(&*medium)?;
        if noted.iter().any(|session| session.superseded.is_some()) {
            refused(Self::read(medium.clone(), boot)?.overlap)?;
        }
        let (reading, session) = Self::claim(medium, boot)?;
        let (mut journal, image) = (reading.journal, reading.image);
        refused(reading.overlap)?;
        journal.begin(session)?;
        Ok((journal, image))
    }

    /// Opens a pool although two backends had it at the same time. The caller has to
    /// [compact](Self::compact) it and to [forget](Self::forget_overlap) that.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open_overlapped(
        medium: Arc<dyn Medium>,
        boot: BootId,
    ) -> Result<(Self, PoolImage), JournalError> {
        let (reading, session) = Self::claim(medium, boot)?;
        let (mut journal, image) = (reading.journal, reading.image);
        journal.begin(session)?;
        Ok((journal, image))
    }

    /// Claims a pool, and only then reads it: whoever has it open stops meanwhile.
    fn claim(medium: Arc<dyn Medium>, boot: BootId) -> Result<(Reading, Session), JournalError> {
        let superblock = Superblocks::read(&*medium)?.newest()?;
        let sessions = session::all(&*medium)?;
        // One that never began leaves its page to the next, lest attempts push out those that did.
        let mut begun = sessions.iter().filter(|session| session.began.is_some());
        let last = begun.next_back().map_or(superblock.session, |s| s.id);
        let session = Session::new(last.max(superblock.session).number(), boot);
        session.write(&*medium)?;
        Ok((Self::read(medium, boot)?, session))
    }

    /// The first commit of a session, from which on it writes.
    fn begin(&mut self, mut session: Session) -> Result<(), JournalError> {
        self.session = Some(session.clone());
        self.verify()?;
        let sequence = self.end.sequence;
        // What was found may be gone with the power as long as only the process before this one
        // ended: a place that was found free would be two's. So that is made durable too.
        self.flush()?;
        self.write_commit(&Batch::default(), Strength::Hard)?;
        session.began = Some((self.superblock.epoch, sequence));
        session.write(&*self.medium)?;
        self.session = Some(session);
        Ok(())
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("the pool was opened to write")
    }

    /// Makes sure that no other session has the pool, and none has written where this one did
    /// last. If one has, nothing is recorded any more.
    ///
    /// # Errors
    /// When there is another, or the medium fails.
    pub fn verify(&mut self) -> Result<(), JournalError> {
        self.verify_against(self.superblock, self.last)
    }

    fn verify_against(
        &mut self,
        superblock: Superblock,
        last: Option<(u64, u32)>,
    ) -> Result<(), JournalError> {
        if let Some(foreign) = &self.foreign {
            return Err(JournalError::Foreign(foreign.clone()));
        }
        let mut buffer = AlignedBuffer::default();
        let head = buffer.read(&*self.medium, 0, AREAS as usize)?;
        let (superblocks, sessions) = head.split_at(SESSIONS as usize);
        let newest = Superblocks::decode(superblocks).newest();
        let sessions = session::decode_all(sessions);
        let own = self.session().id;
        let newer = sessions
            .iter()
            .rev()
            .find(|session| session.id != own && session.id.number() >= own.number());
        let foreign = match newer {
            Some(newer) => Some(format!("another backend has opened this pool: {newer}")),
            None if !sessions.iter().any(|session| session.id == own) => {
                Some("another program has erased this pool".to_owned())
            }
            None if newest.ok() != Some(superblock) => {
                Some("another program has overwritten the superblock of this pool".to_owned())
            }
            None => None,
        };
        let superseded = newer.map(|session| session.id);
        let foreign = match (foreign, last) {
            (None, Some((position, crc))) => {
                let page = buffer.read(&*self.medium, position, PAGE as usize)?;
                let found = CommitHeader::decode(page).map(|header| header.crc);
                (found != Some(crc)).then(|| {
                    format!(
                        "another program has overwritten the journal of this pool at byte {position}"
                    )
                })
            }
            (foreign, _) => foreign,
        };
        let Some(foreign) = foreign else {
            return Ok(());
        };
        self.foreign = Some(foreign.clone());
        let mut session = self.session().clone();
        if sessions.iter().any(|found| found.id == session.id) {
            session.superseded = superseded;
            // That this one stops counts more than that it leaves a note.
            let _ = session.write(&*self.medium);
        }
        Err(JournalError::Foreign(foreign))
    }

    /// Forgets that two sessions overlapped, once that is settled.
    ///
    /// # Errors
    /// When the medium fails.
    pub fn forget_overlap(&mut self) -> Result<(), JournalError> {
        Ok(session::forget_others(&*self.medium, self.session())?)
    }

    /// Where a byte of the live area is on the medium.
    fn position(&self, at: u64) -> u64 {
        self.superblock.area(self.superblock.live) + at
    }

    /// Where the places of the pool begin, bytes.
    pub fn data(&self) -> u64 {
        self.superblock.data
    }

    /// Commits and compactions since it was opened.
    pub fn work(&self) -> Work {
        self.work
    }

    /// Appends records. Once this has returned, they survive what `strength`
    /// says. A hard commit first makes every write to the medium durable, if `sync`
    /// says that its records or whoever waits for it depend on that. When it fails,
    /// none of them will ever count.
    ///
    /// # Errors
    /// When the medium fails, or the area is full.
    pub fn commit(
        &mut self,
        batch: &Batch,
        strength: Strength,
        sync: bool,
    ) -> Result<(), JournalError> {
        self.check_writable()?;
        // Soft commits before it speak of data that must last with them.
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

    /// Flushes the medium. When that fails, the system may take writes for clean
    /// that are lost, and say so no second time: nothing may build on them.
    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.medium.flush();
        self.poisoned |= flushed.is_err();
        flushed
    }

    /// Bytes that a commit takes, which are there.
    fn make_sure_it_fits(&self, batch: &Batch) -> Result<u64, JournalError> {
        let need = layout::commit_len(batch.bytes().len());
        let room = self.room().min(LONGEST_COMMIT);
        match need > room {
            true => Err(JournalError::Full { need, room }),
            false => Ok(need),
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
        self.buffer.write(&*self.medium, position, len as usize)?;
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
            .write(&*self.medium, at, PAGE as usize)
            .and_then(|()| self.flush());
        self.poisoned |= erased.is_err();
    }

    /// Bytes that are left in the area.
    pub fn room(&self) -> u64 {
        self.superblock.used_len().saturating_sub(self.end.at)
    }

    /// Whether the area has grown so much that it is to be written anew.
    pub fn wants_compaction(&self) -> bool {
        self.end.at > self.superblock.compacted_at()
    }

    /// Starts the other area: `describe` says the whole state anew, in as many
    /// batches as it likes. What was only softly committed is durable then. When it
    /// fails, the journal goes on as before.
    ///
    /// # Errors
    /// When the medium fails, or the state does not fit.
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
            // As long as it is not known, all of the area.
            snapshot: old.area_len,
            session: self.session().id,
            ..old
        };
        self.end = End::default();
        let flipped = describe(&mut Sink(self)).and_then(|()| {
            // The data that the snapshot speaks of have to last as well.
            self.flush()?;
            self.verify_against(old, last)?;
            self.superblock.snapshot = self.end.at;
            self.write_superblock(self.superblock).map_err(|error| {
                // It may have been written all the same; then the old area
                // does not count any more.
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
    /// When the medium fails, or it does not fit.
    pub fn push(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.0.work.bytes += self.0.make_sure_it_fits(batch)?;
        Ok(self.0.append(batch, HARD | SNAPSHOT)?)
    }
}
