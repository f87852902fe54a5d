//! Zeros to write: as the data of a request, or around the part of a block that is written first.

use std::sync::atomic::AtomicU8;

use vm_memory::VolatileSlice;

use super::chain::Buffers;
use crate::backing::Alignment;

/// Bytes of [`ZEROS`].
const ZEROS_LEN: usize = 256 << 10;

/// Bytes of the buffer of a [`Padding`], which is repeated where more zeros are needed.
const PADDING_LEN: usize = 64 << 10;

/// Zeros to write where a guest requests zeros, repeated as needed. Atomic, so that they take no
/// space in the program's file.
#[repr(align(4096))]
struct Zeros([AtomicU8; ZEROS_LEN]);

static ZEROS: Zeros = Zeros([const { AtomicU8::new(0) }; ZEROS_LEN]);

/// `len` zeros, as the data of a request.
pub(super) fn zeros(len: usize) -> Buffers<'static> {
    // SAFETY: the memory is there for good, and may be written through a shared reference,
    // although that does not happen: these are the data of writes.
    #[allow(unsafe_code)]
    let all = unsafe { VolatileSlice::new(ZEROS.0.as_ptr().cast_mut().cast(), ZEROS_LEN) };
    let parts = (0..len).step_by(ZEROS_LEN);
    parts
        .filter_map(|at| all.subslice(0, ZEROS_LEN.min(len - at)).ok())
        .collect()
}

/// A buffer of zeros, aligned for the backing and allocated when it is first needed.
pub(super) struct Padding {
    bytes: Vec<u8>,
    address: usize,
}

impl Padding {
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
            self.bytes = vec![0; PADDING_LEN + self.address];
        }
        let skip = self.bytes.as_ptr().align_offset(self.address);
        let end = self.bytes.len().min(skip + PADDING_LEN);
        let zeros = VolatileSlice::from(&mut self.bytes[skip.min(end)..end]);
        [before, after].map(|len| {
            (0..len).step_by(PADDING_LEN).map(move |at| {
                let piece = zeros.subslice(0, (len - at).min(PADDING_LEN));
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
        let mut padding = Padding::new(Alignment {
            address: 4096,
            len: 512,
        });
        for (before, after) in [(0, 0), (512, 0), (0, 65536), (65536 + 512, (1 << 20) - 512)] {
            for (pieces, len) in padding
                .around(before, after)
                .into_iter()
                .zip([before, after])
            {
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
