//! Every second held block: the worst case for anything that counts runs.

use vssd::block_set::{Bitmap, BlockSet};

use super::Surrender;

/// See [`workloads::Policy::Scattered`].
pub struct Scattered;

/// The bits of `word` at even positions of the count of its set bits.
fn every_second(word: u64) -> u64 {
    if word == u64::MAX {
        return 0x5555_5555_5555_5555;
    }
    let mut rest = word;
    let mut taken = 0;
    while rest != 0 {
        taken |= rest & rest.wrapping_neg();
        rest &= rest - 1;
        rest &= rest.wrapping_sub(1);
    }
    taken
}

impl Surrender for Scattered {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        let mut chosen = BlockSet::empty(held.capacity());
        let mut wanted = count.min(held.len());
        // First every second block of each word, then what these left over.
        for second_pass in [false, true] {
            for index in 0..held.word_count() {
                if wanted == 0 {
                    return chosen;
                }
                let mut bits = if second_pass {
                    held.word(index) & !chosen.word(index)
                } else {
                    every_second(held.word(index))
                };
                while bits.count_ones() > wanted {
                    bits &= bits - 1;
                }
                wanted -= chosen.insert_word(index, bits);
            }
        }
        chosen
    }
}
