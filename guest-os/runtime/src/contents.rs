//! What the guest expects to find in each block.

use alloc::vec;
use alloc::vec::Vec;

use vssd::block_set::BlockSet;
use vssd::encoding::SetView;
use workloads::Content;

/// The highest version; after it comes 1 again. Far more than the versions of
/// a block that can be on their way at once.
const LAST_VERSION: u8 = u8::MAX;

/// The expected content of every block of the device: zeros, a version that
/// this guest wrote, or one of the two without knowing which.
///
/// Blocks granted by the million must cost a few words, not a byte each, so
/// two bitmaps say what kind a block is, and its version counts only when it is
/// `written`. A block in neither is unknown.
pub struct Contents {
    content: Content,
    written: BlockSet,
    zeros: BlockSet,
    versions: Vec<u8>,
}

/// What a block that was read turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The version written last.
    AsWritten,
    /// Zeros, rightly.
    Zeros,
    /// Something else.
    Corrupt,
}

impl Contents {
    /// Nothing is known about any block.
    pub fn unknown(capacity: u32, seed: u64) -> Self {
        Self {
            content: Content::new(seed),
            written: BlockSet::empty(capacity),
            zeros: BlockSet::empty(capacity),
            versions: vec![0; capacity as usize],
        }
    }

    /// From now on contents are made from `seed`; what was written before
    /// under another seed is not recognised any longer.
    pub fn reseed(&mut self, seed: u64) {
        self.content = Content::new(seed);
    }

    /// Fills `bytes` with the next version of `block` and returns it.
    pub fn next_version(&self, block: u32, bytes: &mut [u8]) -> u8 {
        let version = self.versions[block as usize] % LAST_VERSION + 1;
        self.content.fill(block, version, bytes);
        version
    }

    /// A write of the version is on its way: until it is back, the block may
    /// carry this one or what was there before.
    pub fn doubt(&mut self, block: u32, version: u8) {
        self.versions[block as usize] = version;
        self.written.remove(block);
        self.zeros.remove(block);
    }

    /// The write on its way is on the device now.
    pub fn confirm(&mut self, block: u32) {
        self.written.insert(block);
    }

    /// True when the block was granted and nothing was written to it since.
    pub fn is_empty(&self, block: u32) -> bool {
        self.zeros.contains(block)
    }

    /// These blocks were granted: they read as zeros.
    pub fn granted(&mut self, blocks: &SetView<'_>) {
        self.zeros.insert_view(blocks);
        if !self.written.is_empty() {
            self.written.remove_view(blocks);
        }
    }

    /// These blocks are held without the guest knowing what is in them.
    pub fn gained(&mut self, blocks: &BlockSet) {
        self.written.subtract(blocks);
        self.zeros.subtract(blocks);
    }

    /// The version that the block carries, 0 for zeros; `None` when that is not known.
    pub fn expected(&self, block: u32) -> Option<u8> {
        if self.written.contains(block) {
            return Some(self.versions[block as usize]);
        }
        self.zeros.contains(block).then_some(0)
    }

    /// Compares what was read of `block` with what is expected.
    pub fn check(&self, block: u32, bytes: &[u8]) -> Found {
        let matches = |version| self.content.check(block, version, bytes);
        if self.written.contains(block) {
            return if matches(self.versions[block as usize]) {
                Found::AsWritten
            } else {
                Found::Corrupt
            };
        }
        if matches(0) {
            return Found::Zeros;
        }
        // Of an unknown block, any version may be there.
        if !self.zeros.contains(block) && (1..=LAST_VERSION).any(matches) {
            Found::AsWritten
        } else {
            Found::Corrupt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_write_a_stale_block_and_an_unknown_one_are_told_apart() {
        let mut contents = Contents::unknown(10, 1);
        let mut old = [0; 512];
        assert_eq!(contents.check(3, &old), Found::Zeros);
        assert_eq!(contents.expected(3), None);
        let version = contents.next_version(3, &mut old);
        contents.doubt(3, version);
        contents.confirm(3);
        assert_eq!(contents.check(3, &old), Found::AsWritten);
        assert_eq!(contents.check(3, &[0; 512]), Found::Corrupt);

        let mut new = [0; 512];
        let version = contents.next_version(3, &mut new);
        contents.doubt(3, version);
        contents.confirm(3);
        assert_eq!(contents.check(3, &old), Found::Corrupt);
        assert_eq!(contents.check(3, &new), Found::AsWritten);

        assert_eq!(contents.expected(3), Some(2));
        contents.doubt(3, version);
        assert_eq!(contents.expected(3), None);
        assert_eq!(contents.check(3, &old), Found::AsWritten);
        assert_eq!(contents.check(3, &[7; 512]), Found::Corrupt);
    }

    #[test]
    fn versions_never_come_back_to_zero() {
        let mut contents = Contents::unknown(1, 1);
        let mut bytes = [0; 512];
        for _ in 0..600 {
            let version = contents.next_version(0, &mut bytes);
            assert_ne!(version, 0);
            contents.doubt(0, version);
        }
    }
}
