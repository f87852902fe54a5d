//! Creating, reading and opening a pool, the last by one session at a time.

use std::io;
use std::sync::Arc;

use super::buffer::AlignedBuffer;
use super::layout::{AREAS, CommitHeader, PAGE, SESSIONS, Superblock};
use super::session::{self, Session};
use super::{Batch, BootId, End, Journal, JournalError, Overlap, PoolImage, Reading, Work};
use super::{erase, next_epoch};
use crate::backing::Backing;
use crate::pool::{Shape, Strength};

/// The two superblocks of a pool.
struct Superblocks {
    found: [Option<Superblock>; 2],
    other_version: Option<u32>,
}

impl Superblocks {
    fn read(backing: &dyn Backing) -> io::Result<Self> {
        let mut buffer = AlignedBuffer::default();
        let len = backing.len().min(SESSIONS) / PAGE * PAGE;
        Ok(Self::decode(buffer.read(backing, 0, len as usize)?))
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

/// The shape of the pool on a backing.
///
/// # Errors
/// When there is none.
pub fn shape(backing: &dyn Backing) -> Result<Shape, JournalError> {
    Ok(Superblocks::read(backing)?.newest()?.shape)
}

impl Journal {
    /// Creates a pool of that shape, without volumes, whatever the backing holds.
    ///
    /// # Errors
    /// When the backing is too small or fails.
    pub fn create(
        backing: Arc<dyn Backing>,
        shape: Shape,
        boot: BootId,
    ) -> Result<Self, JournalError> {
        // Behind those of a pool that was there before.
        let before = Superblocks::read(&*backing)?.newest();
        let epoch = next_epoch(before.map_or(0, |superblock| superblock.epoch));
        let session = Session::new(0, boot);
        let first = Superblock::new(shape, epoch, 0, session.id);
        let mut journal = Self::at(backing, first, boot)?;
        erase(&*journal.backing)?;
        session.write(&*journal.backing)?;
        // Two, so that one that is missing is one that was lost.
        journal.write_superblock(first)?;
        let second = Superblock::new(shape, next_epoch(epoch), 1, session.id);
        journal.write_superblock(second)?;
        journal.begin(session)?;
        Ok(journal)
    }

    /// A journal that has read nothing yet.
    fn at(
        backing: Arc<dyn Backing>,
        superblock: Superblock,
        boot: BootId,
    ) -> Result<Self, JournalError> {
        let (have, need) = (backing.len(), superblock.pool_len());
        if have < need {
            return Err(JournalError::Short { have, need });
        }
        Ok(Self {
            backing,
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

    pub(super) fn write_superblock(&mut self, superblock: Superblock) -> io::Result<()> {
        let page = superblock.encode();
        self.buffer.get(page.len()).copy_from_slice(&page);
        self.buffer
            .write(&*self.backing, superblock.offset(), page.len())?;
        self.backing.flush()?;
        self.superblock = superblock;
        Ok(())
    }

    /// Reads the pool on a backing, and writes nothing.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn read(backing: Arc<dyn Backing>, boot: BootId) -> Result<Reading, JournalError> {
        let superblocks = Superblocks::read(&*backing)?;
        let mut journal = Self::at(backing, superblocks.newest()?, boot)?;
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

    /// Opens the pool on a backing to write. If another backend has it open, that one stops.
    ///
    /// # Errors
    /// When there is none, it is damaged, or two had it at the same time.
    pub fn open(
        backing: Arc<dyn Backing>,
        boot: BootId,
    ) -> Result<(Self, PoolImage), JournalError> {
        let refused = |overlap: Option<Overlap>| match overlap {
            Some(overlap) => Err(JournalError::Overlap(overlap.summary())),
            None => Ok(()),
        };
        Superblocks::read(&*backing)?.newest()?;
        // A running backend must not stop for one that will be refused.
        let noted = session::all(&*backing)?;
        if noted.iter().any(|session| session.superseded.is_some()) {
            refused(Self::read(backing.clone(), boot)?.overlap)?;
        }
        let (reading, session) = Self::claim(backing, boot)?;
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
        backing: Arc<dyn Backing>,
        boot: BootId,
    ) -> Result<(Self, PoolImage), JournalError> {
        let (reading, session) = Self::claim(backing, boot)?;
        let (mut journal, image) = (reading.journal, reading.image);
        journal.begin(session)?;
        Ok((journal, image))
    }

    /// Claims a pool, and only then reads it: another backend that has it open stops meanwhile.
    fn claim(backing: Arc<dyn Backing>, boot: BootId) -> Result<(Reading, Session), JournalError> {
        let superblock = Superblocks::read(&*backing)?.newest()?;
        let sessions = session::all(&*backing)?;
        // A session that never began leaves its page to the next, so that failed attempts do not
        // evict pages of those that did.
        let mut begun = sessions.iter().filter(|session| session.began.is_some());
        let last = begun.next_back().map_or(superblock.session, |s| s.id);
        let session = Session::new(last.max(superblock.session).number(), boot);
        session.write(&*backing)?;
        Ok((Self::read(backing, boot)?, session))
    }

    /// The first commit of a session, from which on it writes.
    fn begin(&mut self, mut session: Session) -> Result<(), JournalError> {
        self.session = Some(session.clone());
        self.verify()?;
        let sequence = self.end.sequence;
        // If only the process before this one ended, what it wrote may still be lost with the
        // power, and a physical block that was found free would then have two owners. So that is
        // made durable too.
        self.flush()?;
        self.write_commit(&Batch::default(), Strength::Hard)?;
        session.began = Some((self.superblock.epoch, sequence));
        session.write(&*self.backing)?;
        self.session = Some(session);
        Ok(())
    }

    pub(super) fn session(&self) -> &Session {
        self.session
            .as_ref()
            .expect("the pool was opened for writing")
    }

    /// Makes sure that no other session has the pool, and none has written where this one did
    /// last. If one has, nothing is recorded any more.
    ///
    /// # Errors
    /// When there is another, or the backing fails.
    pub fn verify(&mut self) -> Result<(), JournalError> {
        self.verify_against(self.superblock, self.last)
    }

    pub(super) fn verify_against(
        &mut self,
        superblock: Superblock,
        last: Option<(u64, u32)>,
    ) -> Result<(), JournalError> {
        if let Some(foreign) = &self.foreign {
            return Err(JournalError::Foreign(foreign.clone()));
        }
        let mut buffer = AlignedBuffer::default();
        let head = buffer.read(&*self.backing, 0, AREAS as usize)?;
        let (superblocks, sessions) = head.split_at(SESSIONS as usize);
        let newest = Superblocks::decode(superblocks).newest().ok();
        let sessions = session::decode_all(sessions);
        let own = self.session().id;
        let newer = sessions
            .iter()
            .rev()
            .find(|session| session.id != own && session.id.number() >= own.number());
        let is_there = sessions.iter().any(|session| session.id == own);
        let foreign = if let Some(newer) = newer {
            format!("another backend has opened this pool: {newer}")
        } else if !is_there {
            "another program has erased this pool".to_owned()
        } else if newest != Some(superblock) {
            "another program has overwritten the superblock of this pool".to_owned()
        } else if let Some(at) = self.overwritten(last)? {
            format!("another program has overwritten the journal of this pool at byte {at}")
        } else {
            return Ok(());
        };
        self.foreign = Some(foreign.clone());
        if is_there {
            let mut session = self.session().clone();
            session.superseded = newer.map(|newer| newer.id);
            // Stopping matters more than leaving the note.
            let _ = session.write(&*self.backing);
        }
        Err(JournalError::Foreign(foreign))
    }

    /// Where the last commit was, if it is not there any more.
    fn overwritten(&self, last: Option<(u64, u32)>) -> io::Result<Option<u64>> {
        let Some((position, crc)) = last else {
            return Ok(None);
        };
        let mut buffer = AlignedBuffer::default();
        let page = buffer.read(&*self.backing, position, PAGE as usize)?;
        let found = CommitHeader::decode(page).map(|header| header.crc);
        Ok((found != Some(crc)).then_some(position))
    }

    /// Forgets that two sessions overlapped, once that is settled.
    ///
    /// # Errors
    /// When the backing fails.
    pub fn forget_overlap(&mut self) -> Result<(), JournalError> {
        Ok(session::forget_others(&*self.backing, self.session())?)
    }
}
