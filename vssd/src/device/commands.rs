//! The commands of the driver. Their session is in the parent module.

use super::{Device, Ownership, Session, Shortfall};
use crate::block_set::{Complement, Difference};
use crate::demand::Demand;
use crate::encoding::{SetView, encode};
use crate::error::Reject;
use crate::wire::{
    Confirm, Encoding, FLAG_FINAL, HelloRequest, HelloResponse, MAX_PAYLOAD, Opcode,
    RESPONSE_HEADER_LEN, Request, VERSION,
};

/// A response under construction: what goes into header and payload.
pub(super) struct Reply {
    pub cursor: u32,
    pub payload: usize,
}

impl Reply {
    pub const EMPTY: Self = Self {
        cursor: 0,
        payload: 0,
    };
}

impl Device {
    pub(super) fn dispatch<O: Ownership>(
        &mut self,
        request: &Request,
        payload: &[u8],
        now_ns: u64,
        ownership: &mut O,
    ) -> Result<Reply, Reject> {
        match request.opcode {
            Opcode::Hello => self.hello(payload),
            Opcode::List => self.list(request.cursor),
            Opcode::Surrender => {
                let last = request.flags & FLAG_FINAL != 0;
                self.surrender(payload, last, now_ns, ownership)
            }
            Opcode::Accept => self.accept(now_ns, ownership),
            Opcode::Revoked => self.fetch_revoked(),
            Opcode::Confirm => self.confirm(payload),
            Opcode::Report => self.report(payload),
        }
    }

    fn payload(&mut self) -> &mut [u8] {
        &mut self.response[RESPONSE_HEADER_LEN..self.payload_end]
    }

    /// [DEV-6] A HELLO ends the previous session and starts from the device's list: revoked blocks
    /// are absent from it.
    fn hello(&mut self, payload: &[u8]) -> Result<Reply, Reject> {
        let hello = HelloRequest::decode(payload)?;
        if hello.version < VERSION {
            return Err(Reject::Unsupported);
        }
        // One window and its header: less could make no progress.
        if (hello.max_payload as usize) < 1024 {
            return Err(Reject::Malformed);
        }
        let answer = HelloResponse {
            version: VERSION,
            encoding: self.encoding,
            block_size: self.geometry.block_size(),
            capacity: self.geometry.capacity(),
            max_payload: MAX_PAYLOAD as u32,
        };
        let bytes = answer.encode();
        let room = self.payload();
        room.get_mut(..bytes.len())
            .ok_or(Reject::Malformed)?
            .copy_from_slice(&bytes);
        self.session = Some(Session {
            id: self.next_session,
            sequence: 0,
            max_payload: (hello.max_payload as usize).min(MAX_PAYLOAD),
        });
        self.next_session = self.next_session.wrapping_add(1).max(1);
        self.revoked.clear();
        self.is_attended = true;
        self.is_agreed = false;
        self.is_resync_due = false;
        Ok(Reply {
            cursor: 0,
            payload: bytes.len(),
        })
    }

    fn list(&mut self, cursor: u32) -> Result<Reply, Reject> {
        if cursor >= self.geometry.capacity() {
            return Err(Reject::OutOfRange);
        }
        let out = encode(
            &Difference(&self.granted, &self.unaccepted),
            cursor,
            u32::MAX,
            Encoding::Compact,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        Ok(Reply {
            cursor: out.next,
            payload: out.len,
        })
    }

    /// [DEV-7] The driver gives blocks up: all of them must be held, and no
    /// more than the resize still wants.
    fn surrender<O: Ownership>(
        &mut self,
        payload: &[u8],
        last: bool,
        now_ns: u64,
        ownership: &mut O,
    ) -> Result<Reply, Reject> {
        let blocks = SetView::parse(payload, self.geometry)?;
        let excess = self.granted.len().saturating_sub(self.target());
        if blocks.len() > excess {
            return Err(Reject::TooMany);
        }
        if !self.granted.contains_view(&blocks) {
            return Err(Reject::NotHeld);
        }
        if !blocks.is_empty() {
            if ownership.release(&blocks).is_err() {
                self.end_early(Shortfall::Storage, now_ns);
                return Err(Reject::Storage);
            }
            let removed = self.granted.remove_view(&blocks);
            assert_eq!(removed, blocks.len(), "a checked block was not granted");
            self.is_agreed = false;
        }
        if let Some(resize) = &mut self.resize {
            resize.exchanges += 1;
        }
        if last && blocks.len() < excess {
            self.declined(now_ns);
        }
        Ok(Reply::EMPTY)
    }

    /// [DEV-8] The driver takes what the resize grants, lowest blocks first; before that, what
    /// was granted while it was not there.
    fn accept<O: Ownership>(&mut self, now_ns: u64, ownership: &mut O) -> Result<Reply, Reject> {
        // A block must not come back before the driver has learned of its loss.
        if !self.revoked.is_empty() {
            return Ok(Reply::EMPTY);
        }
        if !self.unaccepted.is_empty() {
            return Ok(self.hand_over());
        }
        let missing = self.target().saturating_sub(self.granted.len());
        if missing == 0 {
            return Ok(Reply::EMPTY);
        }
        let out = encode(
            &Complement(&self.granted),
            0,
            missing,
            self.encoding,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        let bytes = &self.response[RESPONSE_HEADER_LEN..][..out.len];
        let blocks = SetView::parse(bytes, self.geometry).expect("own encoding");
        if ownership.grant(&blocks).is_err() {
            self.end_early(Shortfall::Storage, now_ns);
            return Err(Reject::Storage);
        }
        let added = self.granted.insert_view(&blocks);
        assert_eq!(added, blocks.len(), "a granted block was granted already");
        self.is_agreed = false;
        if let Some(resize) = &mut self.resize {
            resize.exchanges += 1;
        }
        Ok(Reply {
            cursor: 0,
            payload: out.len,
        })
    }

    /// [DEV-16] Puts blocks that were granted without a driver into the driver's list.
    fn hand_over(&mut self) -> Reply {
        let out = encode(
            &self.unaccepted,
            0,
            u32::MAX,
            self.encoding,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        let bytes = &self.response[RESPONSE_HEADER_LEN..][..out.len];
        let blocks = SetView::parse(bytes, self.geometry).expect("own encoding");
        self.unaccepted.remove_view(&blocks);
        Reply {
            cursor: 0,
            payload: out.len,
        }
    }

    /// [DEV-9] Reports which blocks were taken. Each is reported once in
    /// a session: the response is repeated should the command come again.
    fn fetch_revoked(&mut self) -> Result<Reply, Reject> {
        let out = encode(
            &self.revoked,
            0,
            u32::MAX,
            Encoding::Compact,
            self.geometry,
            &mut self.response[RESPONSE_HEADER_LEN..self.payload_end],
        );
        let bytes = &self.response[RESPONSE_HEADER_LEN..][..out.len];
        let blocks = SetView::parse(bytes, self.geometry).expect("own encoding");
        self.revoked.remove_view(&blocks);
        Ok(Reply {
            cursor: 0,
            payload: out.len,
        })
    }

    /// [DEV-10] Both lists agree when count and digest do and the driver has learned of every block
    /// that was taken.
    fn confirm(&mut self, payload: &[u8]) -> Result<Reply, Reject> {
        let confirm = Confirm::decode(payload)?;
        if !self.revoked.is_empty() || !self.unaccepted.is_empty() {
            return Ok(Reply::EMPTY);
        }
        if confirm.held != self.granted.len() || confirm.digest != self.granted.digest() {
            return Err(Reject::Mismatch);
        }
        self.is_agreed = true;
        Ok(Reply::EMPTY)
    }

    /// [DEV-17] What the driver claims decides nothing here: it is kept for who asked.
    fn report(&mut self, payload: &[u8]) -> Result<Reply, Reject> {
        let demand = Demand::decode(payload)?;
        if core::mem::take(&mut self.is_report_due) {
            self.reports += 1;
            self.demand = demand;
        }
        Ok(Reply::EMPTY)
    }
}
