//! Zeros that pad the first write of a part of a block.

use vm_memory::VolatileSlice;

use crate::backing::Alignment;

/// Bytes of the buffer, which is repeated where more zeros are needed.
const LEN: usize = 64 << 10;

/// A buffer of zeros, aligned for the backing and allocated when it is first needed.
pub(super) struct Zeros {
    bytes: Vec<u8>,
    address: usize,
}

impl Zeros {
    pub(super) fn new(alignment: Alignment) -> Self {
        Self {
            bytes: Vec::new(),
            address: alignment.address,
        }
    }

    /// Zeros of these lengths, to go before and after the data. Nothing may write to them.
    pub(super) fn around(
        &mut self,
        before: usize,
        after: usize,
    ) -> [impl Iterator<Item = VolatileSlice<'_>>; 2] {
        if self.bytes.is_empty() && before + after > 0 {
            self.bytes = vec![0; LEN + self.address];
        }
        let skip = self.bytes.as_ptr().align_offset(self.address);
        let end = self.bytes.len().min(skip + LEN);
        let zeros = VolatileSlice::from(&mut self.bytes[skip.min(end)..end]);
        [before, after].map(|len| {
            (0..len).step_by(LEN).map(move |at| {
                let piece = zeros.subslice(0, (len - at).min(LEN));
                piece.expect("no piece is longer than the buffer")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_zeros_as_asked_for_and_all_of_them_aligned() {
        let mut zeros = Zeros::new(Alignment {
            address: 4096,
            len: 512,
        });
        for (before, after) in [(0, 0), (512, 0), (0, 65536), (65536 + 512, (1 << 20) - 512)] {
            for (pieces, len) in zeros.around(before, after).into_iter().zip([before, after]) {
                let mut sum = 0;
                for piece in pieces {
                    let begin = piece.ptr_guard().as_ptr() as usize;
                    assert!(begin.is_multiple_of(4096) && !piece.is_empty());
                    let mut copy = vec![1u8; piece.len()];
                    piece.copy_to(&mut copy[..]);
                    assert!(copy.iter().all(|byte| *byte == 0));
                    sum += piece.len();
                }
                assert_eq!(sum, len);
            }
        }
    }
}
