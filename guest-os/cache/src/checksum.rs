//! The checksum of what is written to disks and found again after a crash.
//!
//! It tells a whole block from a torn one and from garbage; it is no defence
//! against an adversary, who could compute it too. A step is one-to-one in the
//! state and in the word, so that a difference in a single word always shows;
//! differences in several cancel once in 2^64. A table-driven CRC-64 would take
//! eight times as long for nothing that is needed here.

/// The checksum of `bytes`, continuing from `state`.
pub fn checksum(state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    debug_assert!(rest.is_empty(), "whole words only");
    let state = words
        .iter()
        .fold(state, |state, word| step(state, u64::from_le_bytes(*word)));
    step(state ^ state >> 32, bytes.len() as u64)
}

fn step(state: u64, word: u64) -> u64 {
    (state.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_these() {
        assert_eq!(checksum(0, &[]), 0);
        assert_eq!(checksum(0, &[0; 8]), 0xf1bb_cdcb_fa53_e0a8);
        assert_eq!(checksum(7, b"01234567"), 0x8278_7951_ec64_c289);
    }

    #[test]
    fn every_bit_of_a_block_counts() {
        let mut block = [0x5a; 4096];
        let whole = checksum(1, &block);
        for bit in 0..8 * block.len() {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(1, &block), whole, "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
