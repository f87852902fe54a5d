//! Accesses read from the trace disk, in order and ahead of time.
//!
//! The layout is that of [`workloads::trace_disk`]. The buffers of the disk's slots are the
//! only ones: while the accesses of one are handed out, the others are being filled.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;

use workloads::replay::{Access, AccessKind};
use workloads::trace_disk::{self, BLOCK_BYTES, Header, RECORD_BYTES};

use crate::hardware::{Hardware, ORIGIN_BLOCK};
use crate::port::{BlkOp, BlkPort, BlkStatus, Machine, SECTOR_LEN};

const HEADER_LEN: u64 = BLOCK_BYTES as u64;
const ACCESS_LEN: u64 = RECORD_BYTES as u64;

// The blocks that a trace names are those of the origin disk, and an access is in one piece.
const _: () = assert!(BLOCK_BYTES == ORIGIN_BLOCK && SECTOR_LEN.is_multiple_of(RECORD_BYTES));

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This access.
    Access(Access),
    /// One that is yet to be read.
    Later,
    /// None.
    End,
    /// None, for this reason.
    Failed(String),
}

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
    /// Bytes of the trace, from the beginning of the disk, that are yet to be requested.
    ahead: core::ops::Range<u64>,
    /// Where the next access is in the first piece.
    at: usize,
    left: u64,
}

impl TraceReader {
    /// Reads the header; accesses come from number `start` on.
    ///
    /// # Errors
    /// A sentence, when there is no trace disk, or it does not hold a trace.
    pub async fn open<M: Machine>(
        hardware: &RefCell<Hardware<'_, M>>,
        start: u64,
    ) -> Result<Self, String> {
        let (slots, sectors, logical) = {
            let hw = &mut *hardware.borrow_mut();
            let Some(port) = hw.machine.trace() else {
                return Err(
                    "this machine has no trace disk: add a third virtio-blk disk".to_string(),
                );
            };
            // Requests are multiples of it.
            let logical = u64::from(port.logical_block());
            if logical > HEADER_LEN {
                return Err(format!(
                    "the trace disk has logical blocks of {logical} bytes; the maximum for a trace is \
                     {HEADER_LEN}"
                ));
            }
            let slots = port.slot_count().min(PIECES_MAX);
            (slots, port.capacity_sectors(), logical)
        };
        let len = sectors.saturating_mul(SECTOR_LEN as u64);
        if len < HEADER_LEN {
            return Err("the trace disk is too short for a header".to_string());
        }
        let mut reader = Self {
            pieces: VecDeque::with_capacity(slots),
            free: (0..slots).collect(),
            ahead: 0..HEADER_LEN,
            at: 0,
            left: 0,
        };
        let header = poll_fn(|_| reader.poll_header(&mut hardware.borrow_mut(), len)).await?;
        reader.left = header.accesses.saturating_sub(start);
        if reader.left > 0 {
            // No overflow: a header is only taken if all its accesses are on the disk.
            let from = HEADER_LEN + start * ACCESS_LEN;
            let end = HEADER_LEN + header.accesses * ACCESS_LEN;
            reader.at = (from % logical) as usize;
            // A disk ends with a logical block, so it has all of the last one.
            reader.ahead = from - reader.at as u64..end.next_multiple_of(logical);
        }
        Ok(reader)
    }

    /// The header of a disk of `len` bytes.
    fn poll_header<M: Machine>(
        &mut self,
        hw: &mut Hardware<'_, M>,
        len: u64,
    ) -> Poll<Result<Header, String>> {
        self.advance(hw);
        let Some(header) = self.pieces.pop_front_if(|piece| piece.status.is_some()) else {
            return Poll::Pending;
        };
        self.free.push(header.slot);
        if header.status != Some(BlkStatus::Ok) {
            return Poll::Ready(Err("the trace disk cannot be read".to_string()));
        }
        let port = hw.machine.trace().expect("the disk that was just read");
        let block = port.buffer(header.slot).first_chunk();
        let decoded = Header::decode(block.expect("a whole block"), len);
        Poll::Ready(
            decoded.map_err(|error| format!("the third disk does not hold a trace: {error}")),
        )
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
        let record = port.buffer(piece.slot)[self.at..].first_chunk();
        let access = trace_disk::AccessRecord::decode(*record.expect("a whole record"));
        self.left -= 1;
        self.at += RECORD_BYTES;
        if self.at == piece.len {
            self.free.push(piece.slot);
            self.pieces.pop_front();
            self.at = 0;
            self.advance(hw);
        }
        Next::Access(Access {
            block: access.block,
            kind: if access.write {
                AccessKind::Write
            } else {
                AccessKind::Read
            },
        })
    }

    /// Waits until the device has none of the buffers, so that another may read.
    pub async fn close<M: Machine>(mut self, hardware: &RefCell<Hardware<'_, M>>) {
        self.ahead = 0..0;
        poll_fn(|_| {
            self.advance(&mut hardware.borrow_mut());
            if self.pieces.iter().all(|piece| piece.status.is_some()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
