//! From the commits of an area to the image of a pool.

use std::io;

use super::layout::{
    AlignedBuffer, COMMIT_HEADER_LEN, CommitHeader, HARD, LONGEST_COMMIT, PAGE, SNAPSHOT,
};
use super::{End, Journal, JournalError, PoolImage};

/// Bytes that are looked at together behind the end of the journal.
const LOOK_AHEAD: u64 = 1 << 20;

/// Bytes that are looked at behind the end at most.
const FARTHEST: u64 = 1 << 30;

impl Journal {
    pub(super) fn replay(&mut self) -> Result<PoolImage, JournalError> {
        let mut image = PoolImage::new(self.superblock.shape);
        // Soft commits with no hard one behind them yet.
        let mut soft: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut same_boot = true;
        let (mut end, mut hard_end) = (End::default(), End::default());
        while let Some(header) = self.read_commit(end)? {
            let at = self.position(end.at);
            let records = self.buffer.get(header.commit_len() as usize);
            let records = &records[COMMIT_HEADER_LEN..][..header.payload_len as usize];
            end = End {
                at: end.at + header.commit_len(),
                sequence: end.sequence + 1,
                previous: header.crc,
            };
            if header.flags & HARD == 0 {
                same_boot &= header.boot == self.boot.0;
                soft.push((at, records.to_vec()));
                continue;
            }
            hard_end = end;
            same_boot = true;
            let earlier = soft.iter().map(|(at, records)| (*at, &records[..]));
            apply(&mut image, earlier.chain([(at, records)]))?;
            soft.clear();
        }
        self.look_behind(end)?;
        if same_boot {
            let rest = soft.iter().map(|(at, records)| (*at, &records[..]));
            apply(&mut image, rest)?;
            self.unsealed = !soft.is_empty();
            self.end = end;
        } else {
            self.end = hard_end;
        }
        Ok(image)
    }

    /// Whether the other area was in use under a superblock that came after this
    /// one: then the newer one was whole once.
    pub(super) fn was_left_behind(&mut self) -> io::Result<bool> {
        let mut pages = AlignedBuffer::default();
        let other = self.superblock.area(1 - self.superblock.live);
        let mut at = 0;
        while at < self.superblock.area_len.min(FARTHEST) {
            let len = LOOK_AHEAD.min(self.superblock.area_len - at);
            let pages = pages.read(&*self.medium, other + at, len as usize)?;
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
    fn read_rest(&mut self, at: u64, header: &CommitHeader) -> io::Result<bool> {
        let (position, len) = (self.position(at), header.commit_len() as usize);
        let commit = self.buffer.read(&*self.medium, position, len)?;
        let commit = &commit[..COMMIT_HEADER_LEN + header.payload_len as usize];
        Ok(CommitHeader::checksum(commit) == header.crc)
    }

    /// Reads the commit that goes on at `end` into the buffer.
    fn read_commit(&mut self, end: End) -> io::Result<Option<CommitHeader>> {
        if end.at + PAGE > self.superblock.area_len {
            return Ok(None);
        }
        let position = self.position(end.at);
        let page = self.buffer.read(&*self.medium, position, PAGE as usize)?;
        let header = CommitHeader::decode(page);
        let Some(header) = header.filter(|header| self.accepts(end.at, header)) else {
            return Ok(None);
        };
        let follows = header.sequence == end.sequence && header.previous == end.previous;
        Ok((follows && self.read_rest(end.at, &header)?).then_some(header))
    }

    /// Makes sure that no durable commit is behind the end: then the end is no
    /// end, but damage. Looks no further than the next commit can be.
    fn look_behind(&mut self, end: End) -> Result<(), JournalError> {
        let mut pages = AlignedBuffer::default();
        let limit = self.superblock.area_len.min(end.at + FARTHEST);
        let mut at = end.at;
        while at < limit {
            let len = LOOK_AHEAD.min(limit - at);
            let position = self.position(at);
            let pages = pages.read(&*self.medium, position, len as usize)?;
            for (page, bytes) in (0..).zip(pages.chunks_exact(PAGE as usize)) {
                let at = at + page * PAGE;
                let header = CommitHeader::decode(bytes).filter(|header| {
                    let later = header.flags & HARD != 0 && header.sequence > end.sequence;
                    later && self.accepts(at, header)
                });
                if let Some(header) = header
                    && self.read_rest(at, &header)?
                {
                    let at = self.position(end.at);
                    return Err(JournalError::Damaged { at });
                }
            }
            at += len;
        }
        Ok(())
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
