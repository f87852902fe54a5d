//! How often blocks were requested lately, roughly and in little memory: a
//! count-min sketch of 4-bit counters.
//!
//! G. Cormode, S. Muthukrishnan, "An improved data stream summary: the count-min
//! sketch and its applications", J. Algorithms 55(1), 2005; 4 bits and halving
//! after C. Estan, G. Varghese, SIGCOMM 2002 (conservative update) and the
//! TinyLFU paper.

use alloc::boxed::Box;
use alloc::vec;

/// Words of 16 counters that one block's four counters are in: a cache line, so
/// that a request touches one.
const LINE: usize = 8;

/// Requests beyond which all counts are halved, for each cached block.
const SAMPLE: u64 = 10;

/// Counts up to 15.
#[derive(Clone, Debug)]
pub struct Sketch {
    words: Box<[u64]>,
    /// Increments since counts were halved, those then halved too.
    additions: u64,
    limit: u64,
}

impl Sketch {
    /// Counts for a cache of up to `slots` blocks: 16 to 32 counters for each.
    pub fn new(slots: u32) -> Self {
        let words = (slots as usize).next_power_of_two().max(LINE);
        Self {
            words: vec![0; words].into_boxed_slice(),
            additions: 0,
            limit: 0,
        }
    }

    /// For a cache of `capacity` blocks from now on.
    pub fn resize(&mut self, capacity: u32) {
        self.limit = SAMPLE * u64::from(capacity.max(1));
    }

    /// The four counters of a block: the word and the shift of each.
    #[inline]
    fn places(&self, block: u32) -> [(usize, u32); 4] {
        let mut hash = (u64::from(block) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        hash ^= hash >> 32;
        let line = (hash >> 32) as usize & (self.words.len() / LINE - 1);
        // Each row has two words of the line: one bit says which, four say where.
        core::array::from_fn(|row| {
            let bits = (hash >> (5 * row)) as usize;
            (
                line * LINE + 2 * row + (bits & 1),
                (bits as u32 >> 1 & 15) * 4,
            )
        })
    }

    /// How often a block was requested, or more.
    #[inline]
    pub fn count(&self, block: u32) -> u64 {
        let counts = self
            .places(block)
            .map(|(word, shift)| self.words[word] >> shift & 15);
        counts[0].min(counts[1]).min(counts[2].min(counts[3]))
    }

    /// Counts a request.
    #[inline]
    pub fn add(&mut self, block: u32) {
        let places = self.places(block);
        let counts = places.map(|(word, shift)| self.words[word] >> shift & 15);
        let least = counts[0].min(counts[1]).min(counts[2].min(counts[3]));
        if least == 15 {
            return;
        }
        // Only the least ones: the others were counted for other blocks.
        for ((word, shift), count) in places.into_iter().zip(counts) {
            if count == least {
                self.words[word] += 1 << shift;
            }
        }
        self.additions += 1;
        if self.additions >= self.limit {
            self.halve();
        }
    }

    fn halve(&mut self) {
        for word in &mut self.words {
            *word = *word >> 1 & 0x7777_7777_7777_7777;
        }
        self.additions /= 2;
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_never_low_and_seldom_high() {
        let mut sketch = Sketch::new(1000);
        sketch.resize(1000);
        for block in 0..2000 {
            (0..block % 4).for_each(|_| sketch.add(block));
        }
        let over = (0..2000).filter(|&block| {
            let (count, truth) = (sketch.count(block), u64::from(block % 4));
            assert!(count >= truth, "block {block}: {count}");
            count > truth
        });
        let over = over.count();
        assert!(over < 100, "{over} of 2000 too high");
    }

    #[test]
    fn counts_halve_when_the_sample_is_full() {
        let mut sketch = Sketch::new(8);
        sketch.resize(2);
        (0..10).for_each(|_| sketch.add(7));
        (0..9).for_each(|_| sketch.add(9));
        assert_eq!((sketch.count(7), sketch.count(9)), (10, 9));
        sketch.add(9);
        assert_eq!((sketch.count(7), sketch.count(9)), (5, 5));
        (0..100).for_each(|_| sketch.add(9));
        assert!(sketch.count(9) <= 15);
    }
}
