//! What a block of a disk behind a cache contains: which write it is from.
//!
//! A write has a number, its place in the order of all writes of a workload, counted
//! from 1. The block that it writes carries that number, so that a later read of the disk
//! shows which writes have reached it, and whether all before some moment have. Number 0 stands for a block never written: zeros.
//!
//! ```text
//! word 0      the number
//! word 1      a hash of seed, block and number
//! word i      word 1 plus i times an odd constant
//! ```

use crate::content::{STEP, mix};

/// Makes and reads stamped blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    seed: u64,
}

/// The seed of the stamps of all guests and commands: a guest that boots later can read
/// what an earlier one wrote, and so can who reads the disk without any guest.
const GUESTS: u64 = 0x7653_5344;

/// The block carries no stamp of this seed and place, or not all of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStamped;

impl Stamp {
    /// Stamps made from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Those that guests make.
    pub fn of_guests() -> Self {
        Self::new(GUESTS)
    }

    fn word(self, block: u32, number: u64) -> u64 {
        mix(self.seed ^ mix(number.wrapping_add(STEP)) ^ mix(u64::from(block)))
    }

    /// Fills `out`, one block long, with what write `number` leaves in `block`.
    pub fn fill(self, block: u32, number: u64, out: &mut [u8]) {
        if number == 0 {
            out.fill(0);
            return;
        }
        let (words, _) = out.as_chunks_mut::<8>();
        let mut word = self.word(block, number);
        for chunk in words.iter_mut().skip(1) {
            *chunk = word.to_le_bytes();
            word = word.wrapping_add(STEP);
        }
        if let Some(first) = words.first_mut() {
            *first = number.to_le_bytes();
        }
    }

    /// The number of the write that `bytes`, read from `block`, are from.
    ///
    /// # Errors
    /// When they are of no write of this seed to that block, or of two.
    pub fn read(self, block: u32, bytes: &[u8]) -> Result<u64, NotStamped> {
        let (words, _) = bytes.as_chunks::<8>();
        let (first, rest) = words.split_first().ok_or(NotStamped)?;
        let number = u64::from_le_bytes(*first);
        let (mut word, step) = match number {
            0 => (0, 0),
            _ => (self.word(block, number), STEP),
        };
        let mut difference = 0;
        for chunk in rest {
            difference |= u64::from_le_bytes(*chunk) ^ word;
            word = word.wrapping_add(step);
        }
        match difference {
            0 => Ok(number),
            _ => Err(NotStamped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_tells_its_write_and_nothing_else_passes_for_it() {
        let stamp = Stamp::new(7);
        let mut bytes = [0; 4096];
        assert_eq!(stamp.read(3, &bytes), Ok(0));
        for number in [1, 2, 300, u64::MAX] {
            stamp.fill(3, number, &mut bytes);
            assert_eq!(stamp.read(3, &bytes), Ok(number));
            assert_eq!(stamp.read(4, &bytes), Err(NotStamped));
            assert_eq!(Stamp::new(8).read(3, &bytes), Err(NotStamped));
            bytes[4095] ^= 1;
            assert_eq!(stamp.read(3, &bytes), Err(NotStamped));
        }
    }

    #[test]
    fn a_torn_block_is_of_no_write() {
        let stamp = Stamp::new(7);
        let (mut old, mut new) = ([0; 4096], [0; 4096]);
        stamp.fill(3, 5, &mut old);
        stamp.fill(3, 6, &mut new);
        for at in (512..4096).step_by(512) {
            let mut torn = new;
            torn[at..].copy_from_slice(&old[at..]);
            assert_eq!(stamp.read(3, &torn), Err(NotStamped));
        }
    }
}
