//! What a block contains: recognisable, different for each block and each
//! version of it, and cheap to make and to check.
//!
//! The first 64-bit word of a block is a hash of seed, block and version; word
//! `i` is that hash plus `i` times an odd constant. A block that another block,
//! version, seed or VM wrote differs in every word, so a misplaced, lost or torn
//! write shows, down to the word. Version 0 stands for a block never written: all
//! zeros.

/// The step between the words of a block.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes and checks the contents of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    seed: u64,
}

/// The finalizer of splitmix64 (Steele et al., OOPSLA'14): every input bit
/// changes about half of the output bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Content {
    /// Contents made from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn first_word(self, block: u32, version: u8) -> u64 {
        let place = u64::from(block) << 8 | u64::from(version);
        mix(self.seed ^ mix(place.wrapping_add(STEP)))
    }

    /// Fills `out`, one block long, with version `version` of `block`.
    pub fn fill(self, block: u32, version: u8, out: &mut [u8]) {
        if version == 0 {
            out.fill(0);
            return;
        }
        let mut word = self.first_word(block, version);
        for chunk in out.as_chunks_mut::<8>().0 {
            *chunk = word.to_le_bytes();
            word = word.wrapping_add(STEP);
        }
    }

    /// The block below `blocks`, and its version, whose word `index` is `word`; `None` when no
    /// version of any has it there.
    pub fn find(self, index: u64, word: u64, blocks: u32) -> Option<(u32, u8)> {
        let first = word.wrapping_sub(index.wrapping_mul(STEP));
        let mut versions = (0..blocks).flat_map(|block| (1..=u8::MAX).map(move |v| (block, v)));
        versions.find(|&(block, version)| self.first_word(block, version) == first)
    }

    /// True when `bytes`, one block long, are version `version` of `block`.
    pub fn check(self, block: u32, version: u8, bytes: &[u8]) -> bool {
        let (mut word, step) = match version {
            0 => (0, 0),
            _ => (self.first_word(block, version), STEP),
        };
        let mut difference = 0;
        for chunk in bytes.as_chunks::<8>().0 {
            difference |= u64::from_le_bytes(*chunk) ^ word;
            word = word.wrapping_add(step);
        }
        difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_and_version_has_its_own_content() {
        let content = Content::new(7);
        let mut block = [0; 4096];
        for version in [0, 1, 2, 255] {
            content.fill(5, version, &mut block);
            assert!(content.check(5, version, &block));
            assert!(!content.check(5, version ^ 1, &block));
            if version != 0 {
                assert!(!content.check(6, version, &block));
                assert!(!Content::new(8).check(5, version, &block));
            }
            block[4095] ^= 1;
            assert!(!content.check(5, version, &block));
        }
    }

    #[test]
    fn a_word_tells_where_it_is_from() {
        let content = Content::new(7);
        let mut bytes = [0; 4096];
        content.fill(5, 200, &mut bytes);
        for (index, word) in (0..).zip(bytes.as_chunks::<8>().0) {
            let word = u64::from_le_bytes(*word);
            assert_eq!(content.find(index, word, 6), Some((5, 200)));
            assert_eq!(content.find(index, word, 5), None);
            assert_eq!(Content::new(8).find(index, word, 6), None);
        }
    }
}
