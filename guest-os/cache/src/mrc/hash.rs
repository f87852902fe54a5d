//! Hashes of block numbers.

use core::hash::{BuildHasherDefault, Hasher};

/// The finalizer of splitmix64 (Steele et al., OOPSLA'14): a bijection in which each input bit
/// affects about half of the output bits.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// The rank by which sampling with `seed` selects `block`. A bijection for each seed, so ranks
/// of blocks are distinct.
pub fn rank(seed: u64, block: u64) -> u64 {
    Ranks::new(seed).of(block)
}

/// The ranks of a seed, whose share of the work is done once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranks(u64);

impl Ranks {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)))
    }

    /// The [`rank`] of `block`.
    #[inline]
    pub(super) fn of(self, block: u64) -> u64 {
        mix(block ^ self.0)
    }
}

/// A hasher for tables keyed by block number. It must be independent of [`rank`]: a table of
/// blocks sampled by rank and hashed by rank would use only a fraction of its buckets.
#[derive(Default)]
pub(super) struct BlockHasher(u64);

pub(super) type BuildBlockHasher = BuildHasherDefault<BlockHasher>;

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, block: u64) {
        // The high half of the product depends on all bits of the factors; a bit of the low
        // half depends only on lower bits.
        let product = u128::from(self.0 ^ block ^ 0x2545_f491_4f6c_dd1d)
            * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}
