//! From the commits of an area to the image of a pool.

use std::cmp::Ordering;
use std::io;

use super::buffer::AlignedBuffer;
use super::layout::{
    COMMIT_HEADER_LEN, CommitHeader, HARD, LONGEST_COMMIT, PAGE, SNAPSHOT, SessionId,
};
use super::overlap::{Overlap, Stray};
use super::session::{self, Session};
use super::{End, Journal, JournalError, PoolImage};

/// Bytes that are read at a time behind the end of the journal.
const LOOK_AHEAD: u64 = 1 << 20;

/// Bytes that are read behind the end at most.
const FARTHEST: u64 = 1 << 30;

/// A pool as it was read.
pub struct Reading {
    /// Its journal.
    pub journal: Journal,
    /// The pool.
    pub image: PoolImage,
    /// Two backends had it at the same time.
    pub overlap: Option<Overlap>,
}

impl Journal {
    pub(super) fn replay(&mut self) -> Result<(PoolImage, Option<Overlap>), JournalError> {
        let mut image = PoolImage::new(self.superblock.shape);
        // Soft commits with no hard one behind them yet.
        let mut soft: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut same_boot = true;
        let (mut end, mut hard_end) = (End::default(), End::default());
        let mut last = self.superblock.session;
        while let Some(header) = self.read_commit(end)? {
            let (at, boot) = (self.position(end.at), self.boot);
            let records = self.records(&header);
            end = end.after(&header);
            last = header.session;
            if header.flags & HARD == 0 {
                same_boot &= header.boot == boot.0;
                soft.push((at, records.to_vec()));
                continue;
            }
            hard_end = end;
            same_boot = true;
            let earlier = soft.iter().map(|(at, records)| (*at, &records[..]));
            apply(&mut image, earlier.chain([(at, records)]))?;
            soft.clear();
        }
        if end.at < self.superblock.snapshot {
            let at = self.position(end.at);
            return Err(JournalError::Damaged { at });
        }
        let sessions = session::all(&*self.backing)?;
        let strays = self.look_behind(end, last, &sessions)?;
        if same_boot {
            let rest = soft.iter().map(|(at, records)| (*at, &records[..]));
            apply(&mut image, rest)?;
            self.unsealed = !soft.is_empty();
            self.end = end;
        } else {
            self.end = hard_end;
        }
        let overlap = self.find_overlap(&sessions, (end, last), &strays, &image)?;
        Ok((image, overlap))
    }

    /// Calls `each` for each commit of the chain.
    pub(super) fn for_each_commit(
        &mut self,
        mut each: impl FnMut(&CommitHeader, &[u8]),
    ) -> io::Result<()> {
        let mut end = End::default();
        while let Some(header) = self.read_commit(end)? {
            each(&header, self.records(&header));
            end = end.after(&header);
        }
        Ok(())
    }

    /// The records of the commit that was read last.
    pub(super) fn records(&mut self, header: &CommitHeader) -> &[u8] {
        let commit = self.buffer.get(header.commit_len() as usize);
        &commit[COMMIT_HEADER_LEN..][..header.payload_len as usize]
    }

    /// Whether the other area was in use under a superblock that came after this one: then the
    /// newer one was intact once.
    pub(super) fn was_left_behind(&mut self) -> io::Result<bool> {
        let mut pages = AlignedBuffer::default();
        let other = self.superblock.area(1 - self.superblock.live);
        let mut at = 0;
        while at < self.superblock.area_len.min(FARTHEST) {
            let len = LOOK_AHEAD.min(self.superblock.area_len - at);
            let pages = pages.read(&*self.backing, other + at, len as usize)?;
            for page in pages.chunks_exact(PAGE as usize) {
                let header = CommitHeader::decode(page);
                let later = (self.superblock.epoch >> 32) + 1;
                if header.is_some_and(|h| h.epoch >> 32 == later && h.flags & SNAPSHOT == 0) {
                    return Ok(true);
                }
            }
            at += len;
        }
        Ok(false)
    }

    /// Whether a header found at `at` of the live area is one of this epoch.
    fn accepts(&self, at: u64, header: &CommitHeader) -> bool {
        let room = self.superblock.area_len - at;
        header.epoch == self.superblock.epoch && header.commit_len() <= room.min(LONGEST_COMMIT)
    }

    /// Reads the rest of a commit; false when it is not whole.
    pub(super) fn read_rest(&mut self, at: u64, header: &CommitHeader) -> io::Result<bool> {
        let (position, len) = (self.position(at), header.commit_len() as usize);
        let commit = self.buffer.read(&*self.backing, position, len)?;
        let commit = &commit[..COMMIT_HEADER_LEN + header.payload_len as usize];
        Ok(cfg!(fuzzing) || CommitHeader::checksum(commit) == header.crc)
    }

    /// Reads the commit that goes on at `end` into the buffer.
    fn read_commit(&mut self, end: End) -> io::Result<Option<CommitHeader>> {
        if end.at + PAGE > self.superblock.area_len {
            return Ok(None);
        }
        let position = self.position(end.at);
        let page = self.buffer.read(&*self.backing, position, PAGE as usize)?;
        let header = CommitHeader::decode(page);
        let Some(header) = header.filter(|header| self.accepts(end.at, header)) else {
            return Ok(None);
        };
        let follows = header.sequence == end.sequence && header.previous == end.previous;
        Ok((follows && self.read_rest(end.at, &header)?).then_some(header))
    }

    /// Makes sure that no durable commit is behind the end: such a commit means damage, or the work
    /// of another session. Returns the whole commits that are there. Looks no further than the used
    /// part of the area.
    fn look_behind(
        &mut self,
        end: End,
        last: SessionId,
        sessions: &[Session],
    ) -> Result<Vec<Stray>, JournalError> {
        let mut pages = AlignedBuffer::default();
        let limit = self.superblock.used_len().min(end.at + FARTHEST);
        let (mut at, mut strays) = (end.at, Vec::new());
        let (mut foreign, mut damaged) = (false, false);
        while at < limit {
            let len = LOOK_AHEAD.min(limit - at);
            let position = self.position(at);
            let pages = pages.read(&*self.backing, position, len as usize)?;
            for (page, bytes) in (0..).zip(pages.chunks_exact(PAGE as usize)) {
                let at = at + page * PAGE;
                let header = CommitHeader::decode(bytes).filter(|h| self.accepts(at, h));
                let Some(header) = header else { continue };
                let is_hard = header.flags & HARD != 0;
                let stray = is_stray(&header, (end, last), self.superblock.epoch, sessions);
                if !stray && header.sequence <= end.sequence || !self.read_rest(at, &header)? {
                    continue;
                }
                foreign |= is_hard && stray;
                damaged |= is_hard && !stray;
                strays.push(Stray { at, header });
            }
            at += len;
        }
        match (foreign, damaged) {
            // Of an overlap, what the chain has lost by it is among them.
            (true, _) | (false, false) => Ok(strays),
            (false, true) => Err(JournalError::Damaged {
                at: self.position(end.at),
            }),
        }
    }
}

/// Whether a durable commit behind the end of the chain is of a session that overlapped with the
/// last one of the chain.
fn is_stray(
    header: &CommitHeader,
    (end, last): (End, SessionId),
    epoch: u64,
    sessions: &[Session],
) -> bool {
    match header.session.cmp(&last) {
        // The chain was that of the other session when it was written.
        Ordering::Less => true,
        Ordering::Equal => false,
        // The chain goes on where the other had begun. If it ends before that, it is damaged.
        Ordering::Greater => {
            let began = sessions.iter().find(|session| session.id == header.session);
            let began = began.and_then(|session| session.began);
            let goes_on =
                began.is_some_and(|(of, sequence)| of == epoch && sequence < end.sequence);
            goes_on || header.sequence < end.sequence
        }
    }
}

fn apply<'a>(
    image: &mut PoolImage,
    commits: impl Iterator<Item = (u64, &'a [u8])>,
) -> Result<(), JournalError> {
    for (at, records) in commits {
        if !image.apply_all(records) {
            return Err(JournalError::Contradiction { at });
        }
    }
    Ok(())
}
