//! CLOCK (Corbató, "A paging experiment with the Multics system", 1968): one bit
//! for each block, set by a request, cleared by a hand that passes.

use vssd::block_set::BlockSet;

/// Reference bits and the hand.
#[derive(Clone, Debug)]
pub struct SecondChance {
    referenced: BlockSet,
    hand: u32,
}

impl SecondChance {
    /// Nothing has been requested of `capacity` blocks.
    pub fn new(capacity: u32) -> Self {
        Self {
            referenced: BlockSet::empty(capacity),
            hand: 0,
        }
    }

    /// A request touched these blocks.
    #[inline]
    pub fn accessed(&mut self, first: u32, count: u32) {
        self.referenced.insert_range(first, count);
    }

    /// Memory that the bits take, bytes.
    pub fn memory_bytes(&self) -> usize {
        (self.referenced.capacity() as usize).div_ceil(64) * 8
    }

    /// Sweeps on over the blocks of `granted`: one whose bit is set has it
    /// cleared and is spared, one whose bit is clear goes.
    pub fn pick(&mut self, count: u32, granted: &BlockSet) -> BlockSet {
        let mut picks = BlockSet::empty(granted.capacity());
        let wanted = count.min(granted.len());
        // The second round finds every bit clear, so the third never comes.
        while picks.len() < wanted {
            let Some(block) = granted.next_in(self.hand) else {
                self.hand = 0;
                continue;
            };
            self.hand = block + 1;
            if !self.referenced.remove(block) {
                picks.insert(block);
            }
        }
        picks
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Against bits in a vector and a hand that goes one by one.
    #[test]
    fn it_picks_what_a_hand_going_one_by_one_would() {
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let capacity = rng.random_range(1..200u32);
            let mut clock = SecondChance::new(capacity);
            let mut bits = vec![false; capacity as usize];
            let mut hand = 0;
            let mut granted = BlockSet::full(capacity);
            while !granted.is_empty() {
                for _ in 0..rng.random_range(0..capacity) {
                    let block = rng.random_range(0..capacity);
                    clock.accessed(block, 1);
                    bits[block as usize] = true;
                }
                let count = rng.random_range(1..=granted.len());
                let picks = clock.pick(count, &granted);
                let mut model = BlockSet::empty(capacity);
                while model.len() < count {
                    let block = hand;
                    hand = (hand + 1) % capacity;
                    if granted.contains(block) && !model.contains(block) {
                        if bits[block as usize] {
                            bits[block as usize] = false;
                        } else {
                            model.insert(block);
                        }
                    }
                }
                assert_eq!(picks, model, "seed {seed}");
                granted.subtract(&picks);
            }
        }
    }
}
