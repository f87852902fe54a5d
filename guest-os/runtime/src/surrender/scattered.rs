//! Every second held block: the worst case for anything that counts runs.

use alloc::vec;

use vssd::block_set::{Bitmap, BlockSet};

use super::Surrender;

/// See [`workloads::GuestPick::Scattered`].
pub struct Scattered;

/// The bits of `word` at even positions of the count of its set bits, and how
/// many these are.
fn every_second(word: u64) -> (u64, u32) {
    if word == u64::MAX {
        return (0x5555_5555_5555_5555, 32);
    }
    let mut rest = word;
    let mut taken = 0;
    while rest != 0 {
        taken |= rest & rest.wrapping_neg();
        rest &= rest - 1;
        rest &= rest.wrapping_sub(1);
    }
    (taken, taken.count_ones())
}

impl Surrender for Scattered {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        let mut chosen = vec![0; held.word_count()];
        let mut wanted = count.min(held.len());
        // First every second block of each word, then what these left over.
        for second_pass in [false, true] {
            for (index, slot) in chosen.iter_mut().enumerate() {
                let (mut bits, mut ones) = every_second(held.word(index));
                if second_pass {
                    bits = held.word(index) & !*slot;
                    ones = bits.count_ones();
                }
                while ones > wanted {
                    bits &= bits - 1;
                    ones -= 1;
                }
                *slot |= bits;
                wanted -= ones;
                if wanted == 0 {
                    return BlockSet::from_words(held.capacity(), chosen);
                }
            }
        }
        BlockSet::from_words(held.capacity(), chosen)
    }
}
