//! What a crash may leave of the vSSDs of a pool.

use std::collections::BTreeMap;
use std::ops::Range;

use vssd::block_set::BlockSet;

use super::SECTORS_PER_BLOCK;

/// What a sector may read as: zeros, or the content of the write with that number.
pub(super) type Content = u32;

pub(super) const ZEROS: Content = 0;

/// A sector that names its vSSD, its number and its write.
pub(super) fn sector(vssd: usize, sector: u32, write: Content) -> [u8; 512] {
    let mut bytes = [0; 512];
    for (at, number) in [0x5EC7, vssd as u32, sector, write].into_iter().enumerate() {
        bytes[4 * at..4 * at + 4].copy_from_slice(&number.to_le_bytes());
    }
    bytes[508..].copy_from_slice(&write.to_le_bytes());
    bytes
}

/// What a sector was read as; `None` when that is neither zeros nor what a write left there.
pub(super) fn content_of(vssd: usize, number: u32, bytes: &[u8]) -> Option<Content> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(ZEROS);
    }
    let content = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
    (bytes == sector(vssd, number, content)).then_some(content)
}

/// The contents of a sector since it was last durable.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// Contents it may have: the first is durable, the last is the present one.
    pub contents: Vec<Content>,
}

/// What a vSSD may look like.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub held: BlockSet,
    pub sectors: BTreeMap<u32, History>,
}

impl Model {
    pub fn contents(&self, sector: u32) -> &[Content] {
        self.sectors
            .get(&sector)
            .map_or(&[ZEROS], |history| &history.contents)
    }

    pub fn change(&mut self, sectors: Range<u32>, content: Content) {
        for sector in sectors {
            let history = self.sectors.entry(sector).or_insert_with(|| History {
                contents: vec![ZEROS],
            });
            history.contents.push(content);
        }
    }

    /// Everything so far is durable.
    pub fn flushed(&mut self) {
        for history in self.sectors.values_mut() {
            history.contents.drain(..history.contents.len() - 1);
        }
    }

    pub fn released(&mut self, blocks: &BlockSet) {
        self.held.subtract(blocks);
        for block in blocks.runs().flat_map(|run| run.start..run.end()) {
            let first = block * SECTORS_PER_BLOCK;
            (first..first + SECTORS_PER_BLOCK).for_each(|s| drop(self.sectors.remove(&s)));
        }
    }
}

/// A state that a crash may find, and the one it may find instead because
/// something was under way.
#[derive(Clone)]
pub(super) struct Possible {
    /// As it was when everything before had ended.
    pub before: Vec<Model>,
    /// As it was to be.
    pub after: Vec<Model>,
}

pub(super) fn possible(before: &[Model], after: &[Model]) -> Possible {
    Possible {
        before: before.to_vec(),
        after: after.to_vec(),
    }
}
