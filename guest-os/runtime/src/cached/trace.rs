//! Accesses read from the trace disk, in order and ahead of time.
//!
//! ```text
//! byte 0      magic "vSSDtrc1"
//! byte 8      number of accesses, 64 bits
//! byte 16     bytes in a block, 32 bits: 4096
//! byte 4096   the accesses, 8 bytes each:
//!             32 bits  the block
//!             32 bits  bit 0: a write; the others: number of the request that it is
//!                      part of, modulo 2^31
//! ```
//!
//! All little-endian. The buffers of the disk's slots are the only ones: while the accesses
//! of one are handed out, the others are being filled.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;

use workloads::replay::Access;

use super::source::Next;
use crate::hardware::{Hardware, ORIGIN_BLOCK};
use crate::port::{BlkOp, BlkPort, BlkStatus, Machine, SECTOR_LEN};

const MAGIC: &[u8; 8] = b"vSSDtrc1";
const HEADER_LEN: usize = 4096;
const ACCESS_LEN: u64 = 8;
const IS_WRITE: u32 = 1;

/// Pieces that are under way or waited for, at most.
const PIECES_MAX: usize = 4;

/// A part of the trace in a slot's buffer, or on its way there.
struct Piece {
    slot: usize,
    sector: u64,
    len: usize,
    status: Option<BlkStatus>,
}

/// See the module.
pub struct TraceReader {
    pieces: VecDeque<Piece>,
    free: Vec<usize>,
    /// Bytes of the trace, from the beginning of the disk, that are yet to be asked for.
    ahead: core::ops::Range<u64>,
    /// Where the next access is in the first piece.
    at: usize,
    left: u64,
}

impl TraceReader {
    /// Reads the header; accesses come from number `start` on.
    ///
    /// # Errors
    /// A sentence, when there is no trace disk, or what is on it is no trace.
    pub async fn open<M: Machine>(
        hardware: &RefCell<Hardware<'_, M>>,
        start: u64,
    ) -> Result<Self, String> {
        let (slots, sectors) = {
            let hw = &mut *hardware.borrow_mut();
            let Some(port) = hw.machine.trace() else {
                return Err("this machine has no trace disk: it would be the third".to_string());
            };
            (port.slot_count().min(PIECES_MAX), port.capacity_sectors())
        };
        let len = sectors.saturating_mul(SECTOR_LEN as u64);
        if len < HEADER_LEN as u64 {
            return Err("the trace disk is too short for a header".to_string());
        }
        let mut reader = Self {
            pieces: VecDeque::with_capacity(slots),
            free: (0..slots).collect(),
            ahead: 0..HEADER_LEN as u64,
            at: 0,
            left: 0,
        };
        let accesses = poll_fn(|_| reader.poll_header(&mut hardware.borrow_mut())).await?;
        let end = accesses
            .checked_mul(ACCESS_LEN)
            .and_then(|bytes| bytes.checked_add(HEADER_LEN as u64))
            .filter(|end| *end <= len);
        let Some(end) = end else {
            return Err(format!(
                "the trace disk has {accesses} accesses by its header, and room for {}",
                (len - HEADER_LEN as u64) / ACCESS_LEN
            ));
        };
        reader.left = accesses.saturating_sub(start);
        if reader.left > 0 {
            let from = HEADER_LEN as u64 + start * ACCESS_LEN;
            reader.at = (from % SECTOR_LEN as u64) as usize;
            let sectors_end = end.next_multiple_of(SECTOR_LEN as u64);
            reader.ahead = from - reader.at as u64..sectors_end;
        }
        Ok(reader)
    }

    /// The number of accesses that a header tells of.
    fn poll_header<M: Machine>(&mut self, hw: &mut Hardware<'_, M>) -> Poll<Result<u64, String>> {
        self.advance(hw);
        let Some(header) = self.pieces.pop_front_if(|piece| piece.status.is_some()) else {
            return Poll::Pending;
        };
        self.free.push(header.slot);
        if header.status != Some(BlkStatus::Ok) {
            return Poll::Ready(Err("the trace disk cannot be read".to_string()));
        }
        let port = hw.machine.trace().expect("the disk that was just read");
        let bytes = &port.buffer(header.slot)[..HEADER_LEN];
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes);
        let (accesses, block_size) = (word(8), word(16));
        Poll::Ready(match (accesses, block_size) {
            (Ok(accesses), Ok(size))
                if bytes.starts_with(MAGIC) && size as u32 as usize == ORIGIN_BLOCK =>
            {
                Ok(accesses)
            }
            _ if bytes.starts_with(MAGIC) => Err(format!(
                "the trace is of blocks other than {ORIGIN_BLOCK} bytes"
            )),
            _ => Err("the trace disk does not begin as a trace does".to_string()),
        })
    }

    /// Takes in what has arrived, and asks for more where there is room.
    fn advance<M: Machine>(&mut self, hw: &mut Hardware<'_, M>) {
        let Some(port) = hw.machine.trace() else {
            return;
        };
        let mut steps = 0;
        while let Some((slot, status)) = port.completion() {
            let mut pieces = self.pieces.iter_mut();
            if let Some(piece) = pieces.find(|piece| piece.slot == slot) {
                piece.status = Some(status);
            }
            steps += 1;
        }
        while !self.ahead.is_empty()
            && let Some(slot) = self.free.pop()
        {
            let from = self.ahead.start;
            let len = (self.ahead.end - from).min(port.slot_len() as u64);
            let sector = from / SECTOR_LEN as u64;
            port.submit(slot, BlkOp::Read, sector, len as usize);
            self.ahead.start += len;
            self.pieces.push_back(Piece {
                slot,
                sector,
                len: len as usize,
                status: None,
            });
            steps += 1;
        }
        port.kick();
        for _ in 0..steps {
            hw.stepped();
        }
    }

    /// The next access.
    pub fn next<M: Machine>(&mut self, hw: &mut Hardware<'_, M>) -> Next {
        if self.left == 0 {
            return Next::End;
        }
        if self
            .pieces
            .front()
            .is_none_or(|piece| piece.status.is_none())
        {
            self.advance(hw);
        }
        let Some(piece) = self.pieces.front() else {
            return Next::Later;
        };
        match piece.status {
            None => return Next::Later,
            Some(BlkStatus::Ok) => {}
            Some(_) => {
                let sector = piece.sector + (self.at / SECTOR_LEN) as u64;
                return Next::Failed(format!(
                    "the trace disk cannot be read from sector {sector} on"
                ));
            }
        }
        let port = hw.machine.trace().expect("the disk that is being read");
        let bytes = &port.buffer(piece.slot)[self.at..][..ACCESS_LEN as usize];
        let (words, _) = bytes.as_chunks::<4>();
        let [block, flags] = [words[0], words[1]].map(u32::from_le_bytes);
        self.left -= 1;
        self.at += ACCESS_LEN as usize;
        if self.at == piece.len {
            self.free.push(piece.slot);
            self.pieces.pop_front();
            self.at = 0;
            self.advance(hw);
        }
        Next::Access(Access {
            block,
            is_write: flags & IS_WRITE != 0,
        })
    }

    /// Waits until the device has none of the buffers, so that another may read.
    pub async fn close<M: Machine>(mut self, hardware: &RefCell<Hardware<'_, M>>) {
        self.ahead = 0..0;
        poll_fn(|_| {
            self.advance(&mut hardware.borrow_mut());
            match self.pieces.iter().all(|piece| piece.status.is_some()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}
