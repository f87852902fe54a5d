//! Two sessions that had a pool at the same time: how this is detected, and which blocks it
//! affects.
//!
//! Commits are chained by their checksums, and each session appends to the chain that it knows. So
//! two at once write to the same positions. A later reader finds the chain of one of them, with
//! intact commits of the other behind its end, or without those of a session that had begun, or
//! with a note by the one that was superseded:
//!
//! ```text
//!   a  a  a  b  b  b          b began, and has the pool
//!   a  a  a  a  a│ b          a went on: what b had recorded is lost or out of reach
//!   a  a  a  b  b│ a          the other way round
//! ```
//!
//! [Listed](super::suspects) are all blocks that either could have changed, in two grades:
//!
//! - *recorded*: the blocks that either session recorded since the younger one began, those at
//!   the same physical blocks, since each took physical blocks that it found free, and those of vSSDs that either
//!   removed;
//! - *possible*: all other blocks that have a physical block. A write to such a block changes no record, so
//!   both may have made one. Checksums of the blocks would tell, but a guest may change a page
//!   while it is being written.
//!
//! A journal that was compacted since goes back to the compaction only. So what was recorded before
//! is then possible, and what was deleted before is not listed. Nor are blocks to which
//! the lost session was first to give a physical block, once the other has overwritten the record of that:
//! for them there is neither record nor physical block.

use super::layout::{CommitHeader, HARD, SNAPSHOT, SessionId};
use super::session::Session;
use super::suspects::{Suspect, Suspects};
use super::{End, Journal, JournalError, PoolImage};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The older of the two, which went on.
    pub older: String,
    /// The one that had begun meanwhile.
    pub younger: String,
    /// Blocks that either could have changed: first those with records.
    pub suspects: Vec<Suspect>,
    /// The journal was compacted since, and does not go back to when the younger one began.
    pub compacted: bool,
}

impl Overlap {
    /// As a sentence.
    pub fn summary(&self) -> String {
        format!(
            "two backends had this pool at the same time: {} went on after {} had opened it",
            self.older, self.younger
        )
    }
}

/// An intact commit that the chain does not reach.
pub(super) struct Stray {
    /// Bytes from the beginning of the area.
    pub(super) at: u64,
    pub(super) header: CommitHeader,
}

impl Stray {
    /// Whether it counts by itself. A soft commit of an earlier boot of the machine may lie where a
    /// session that dropped it has not written yet.
    fn is_hard(&self) -> bool {
        self.header.flags & HARD != 0
    }
}

impl Journal {
    /// Whether two sessions overlapped, by what is on record: the chain, which ends at `end`
    /// and was written last by `last`, and whole commits behind it.
    pub(super) fn find_overlap(
        &mut self,
        sessions: &[Session],
        (end, last): (End, SessionId),
        strays: &[Stray],
        image: &PoolImage,
    ) -> Result<Option<Overlap>, JournalError> {
        let found = self.find_pair(sessions, (end, last), strays)?;
        let Some((older, younger)) = found else {
            return Ok(None);
        };
        let session = |id: SessionId| sessions.iter().find(|session| session.id == id);
        let describe = |id: SessionId| match session(id) {
            Some(session) => session.to_string(),
            None => format!("session {}", id.number()),
        };
        let began = session(younger).and_then(|session| session.began);
        let is_in_area = |(epoch, _): &(u64, u64)| *epoch == self.superblock.epoch;
        let compacted = !began.as_ref().is_some_and(is_in_area);
        // What follows the snapshot of a compaction since then is younger than that.
        let since = began.map(|began| if compacted { 0 } else { began.1 });
        let mut suspects = Suspects::new(image);
        self.for_each_commit(|header, records| {
            let is_younger = since.is_some_and(|since| header.sequence >= since);
            if is_younger && header.flags & SNAPSHOT == 0 {
                suspects.add(header.session, records);
            } else {
                suspects.before(records);
            }
        })?;
        for stray in strays {
            let by_them = stray.is_hard() || stray.header.session >= older;
            if by_them && self.read_rest(stray.at, &stray.header)? {
                suspects.add(stray.header.session, self.records(&stray.header));
            }
        }
        Ok(Some(Overlap {
            older: describe(older),
            younger: describe(younger),
            suspects: suspects.list(),
            compacted,
        }))
    }

    /// The older and the younger of two sessions that overlapped.
    fn find_pair(
        &self,
        sessions: &[Session],
        (end, last): (End, SessionId),
        strays: &[Stray],
    ) -> Result<Option<(SessionId, SessionId)>, JournalError> {
        let hard = strays.iter().filter(|stray| stray.is_hard());
        let mut others = hard.map(|stray| stray.header.session);
        if let Some(other) = others.find(|session| *session != last) {
            return Ok(Some((last.min(other), last.max(other))));
        }
        let mut noted = sessions.iter();
        if let Some(pair) = noted.find_map(|s| Some((s.id, s.superseded?))) {
            return Ok(Some(pair));
        }
        let mut begun = sessions.iter().rev();
        let begun = begun.find_map(|session| Some((session.id, session.began?)));
        let Some((younger, (epoch, sequence))) = begun else {
            return Ok(None);
        };
        // The commit by which it began was there for good. So if it is not, either another
        // is in its place, or a superblock that does not know of it, or it is damaged.
        let (began, now) = (epoch >> 32, self.superblock.epoch >> 32);
        let is_in_area = epoch == self.superblock.epoch;
        if began > now {
            return Err(JournalError::OldSuperblock);
        }
        if is_in_area && end.sequence <= sequence {
            let at = self.position(end.at);
            return Err(JournalError::Damaged { at });
        }
        Ok((younger > last).then_some((last, younger)))
    }
}
