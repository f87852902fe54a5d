//! A one-to-one scrambling of block numbers: the hash whose input a table gets
//! back from the bucket and the rest.
//!
//! Two multiplications with a fold between them: a single multiplication leaves
//! strides of some lengths in few buckets, a third changed nothing measurable.

const FIRST: u32 = 0x9e37_79b1;
const SECOND: u32 = 0x85eb_ca6b;
const FIRST_INVERSE: u32 = inverse(FIRST);
const SECOND_INVERSE: u32 = inverse(SECOND);

/// The inverse of an odd number modulo 2^32, by Newton's iteration: the number
/// itself is right in 3 bits, and each step doubles them.
const fn inverse(odd: u32) -> u32 {
    let mut found = odd;
    let mut step = 0;
    while step < 4 {
        found = found.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(found)));
        step += 1;
    }
    found
}

/// Scrambles; the high bits are the best ones.
#[inline]
pub fn scramble(block: u32) -> u32 {
    let product = block.wrapping_mul(FIRST);
    (product ^ (product >> 15)).wrapping_mul(SECOND)
}

/// The block that [`scramble`] made `scrambled` of.
#[inline]
pub fn unscramble(scrambled: u32) -> u32 {
    let folded = scrambled.wrapping_mul(SECOND_INVERSE);
    (folded ^ (folded >> 15) ^ (folded >> 30)).wrapping_mul(FIRST_INVERSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn unscrambling_gives_the_block_back() {
        for block in (0..=u32::MAX).step_by(65_521).chain([1, 2, u32::MAX]) {
            assert_eq!(unscramble(scramble(block)), block);
        }
    }

    /// Whatever the stride, 1024 blocks of it are in at least half as many of
    /// 1024 buckets as chance would fill (63 %).
    #[test]
    fn strides_spread() {
        for power in 0..22 {
            for stride in [1u32 << power, (1 << power) + 1, 3 << power] {
                let mut filled = vec![false; 1024];
                (0..1024u32)
                    .for_each(|i| filled[(scramble(i.wrapping_mul(stride)) >> 22) as usize] = true);
                let count = filled.iter().filter(|&&is_filled| is_filled).count();
                assert!(count > 322, "stride {stride}: {count} buckets");
            }
        }
    }
}
