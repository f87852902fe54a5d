//! Consistent overhead byte stuffing (Cheshire and Baker, IEEE/ACM Transactions on Networking,
//! 1999): a frame without zero bytes, so that a zero ends it.
//!
//! A receiver that joins in the middle of a frame, or is left there by a sender that died, is in
//! step again at the next zero. A length in front of each frame would not do: a receiver that
//! waits for the rest of a megabyte takes the OPEN of the next sender for a part of it.
//!
//! ```text
//!  frame     11 22 00 33              11 00 00 00             (254 bytes that are not 0)
//!  stuffed   03 11 22 02 33           02 11 01 01 01          ff (the same 254 bytes) 01
//! ```
//!
//! Each code byte is one more than the number of bytes up to the next code; a zero of the frame is
//! in front of the next code, except after the code 255.

use alloc::vec::Vec;

/// Ends a frame, and stands before it.
pub(super) const DELIMITER: u8 = 0;

/// The code of a group that no zero follows.
const FULL: u8 = 0xff;

/// Appends the stuffed `parts`, one frame, to `out`.
pub(super) fn stuff(parts: &[&[u8]], out: &mut Vec<u8>) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(len + len / 254 + 1);
    let mut code_at = out.len();
    out.push(1);
    for byte in parts.iter().flat_map(|part| part.iter().copied()) {
        if byte != 0 {
            out.push(byte);
            out[code_at] += 1;
        }
        if byte == 0 || out[code_at] == FULL {
            code_at = out.len();
            out.push(1);
        }
    }
}

/// The receiving side: bytes of the line to those of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Unstuffer {
    /// Bytes up to the next code.
    left: u8,
    /// A zero comes before the next group, if there is one.
    owes_zero: bool,
}

impl Unstuffer {
    /// Takes a byte that is no delimiter; passes bytes of the frame to `put`.
    pub(super) fn take(&mut self, byte: u8, mut put: impl FnMut(u8)) {
        if self.left > 0 {
            self.left -= 1;
            return put(byte);
        }
        if core::mem::replace(&mut self.owes_zero, byte != FULL) {
            put(0);
        }
        self.left = byte - 1;
    }

    /// A delimiter was read: true when it stands where a frame can end.
    pub(super) fn end(&mut self) -> bool {
        core::mem::take(self).left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    fn stuffed(frame: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        stuff(&[frame], &mut out);
        out
    }

    fn unstuffed(line: &[u8]) -> Option<Vec<u8>> {
        let (mut unstuffer, mut frame) = (Unstuffer::default(), vec![]);
        for byte in line {
            unstuffer.take(*byte, |byte| frame.push(byte));
        }
        unstuffer.end().then_some(frame)
    }

    #[test]
    fn the_examples_of_the_module() {
        assert_eq!(stuffed(&[0x11, 0x22, 0, 0x33]), [3, 0x11, 0x22, 2, 0x33]);
        assert_eq!(stuffed(&[0x11, 0, 0, 0]), [2, 0x11, 1, 1, 1]);
        assert_eq!(stuffed(&[]), [1]);
        let full = [7; 254];
        assert_eq!(stuffed(&full), [&[0xff][..], &full, &[1]].concat());
    }

    #[test]
    fn every_frame_comes_back_without_a_zero_on_the_line() {
        for seed in 0..500 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let len = rng.random_range(0..1000);
            let density = rng.random_range(0.0..0.2);
            let byte = |_| {
                let is_zero = rng.random_bool(density);
                if is_zero { 0 } else { rng.random() }
            };
            let frame: Vec<u8> = (0..len).map(byte).collect();
            let line = stuffed(&frame);
            assert!(!line.contains(&DELIMITER), "seed {seed}");
            assert!(line.len() <= len + len / 254 + 1, "seed {seed}");
            assert_eq!(unstuffed(&line), Some(frame), "seed {seed}");
        }
    }

    #[test]
    fn what_ends_within_a_group_is_no_frame() {
        assert_eq!(unstuffed(&[3, 0x11]), None);
        assert_eq!(unstuffed(&[3]), None);
    }
}
