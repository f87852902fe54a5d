//! What the driver learns from the device: its events, and the responses to commands.

use super::{Driver, Fault, Notice, State};
use crate::block_set::BlockSet;
use crate::encoding::SetView;
use crate::error::Reject;
use crate::wire::{Event, Goal, HelloResponse, Opcode, Response, Status, VERSION};

impl Driver {
    /// Takes an event of the device. Unknown ones are ignored [DRV-3].
    pub fn on_event(&mut self, bytes: &[u8]) {
        match Event::decode(bytes) {
            Some(Event::Goal(goal)) => {
                if goal.generation >= self.goal.generation {
                    self.is_awaiting_event = false;
                }
                self.adopt(goal);
            }
            // A HELLO that is on its way or answered already is the resync.
            Some(Event::Resync) => self.needs_resync |= !matches!(self.state, State::Detached),
            None => {}
        }
    }

    /// [DRV-4] The newer goal wins, so late and repeated ones do no harm.
    fn adopt(&mut self, goal: Goal) {
        if goal.generation >= self.goal.generation {
            self.goal = goal;
        }
    }

    /// Takes the response to the command in flight.
    ///
    /// # Errors
    /// A [`Fault`] of the device; the driver then starts over with HELLO.
    pub fn on_response<'a>(&mut self, bytes: &'a [u8]) -> Result<Notice<'a>, Fault> {
        let opcode = self.in_flight.take().ok_or(Fault::BadResponse)?;
        let result = self.respond(opcode, bytes);
        if result.is_err() {
            self.detach();
        }
        result
    }

    fn respond<'a>(&mut self, opcode: Opcode, bytes: &'a [u8]) -> Result<Notice<'a>, Fault> {
        let (response, payload) = Response::decode(bytes).ok_or(Fault::BadResponse)?;
        if response.sequence != self.sequence {
            return Err(Fault::BadResponse);
        }
        if opcode == Opcode::Hello {
            return self.on_hello(&response, payload);
        }
        self.adopt(response.goal);
        match response.status {
            Status::Ok => {}
            Status::Rejected(Reject::StaleSession) => {
                self.needs_resync = true;
                return Ok(Notice::None);
            }
            // [DRV-6] The device wanted fewer blocks by then, or could not
            // record the change: what was picked is still held.
            Status::Rejected(Reject::TooMany | Reject::Storage) => {
                self.restore();
                self.is_awaiting_event = false;
                return Ok(Notice::None);
            }
            // Some were taken by force meanwhile: REVOKED says which.
            Status::Rejected(Reject::NotHeld)
                if opcode == Opcode::Surrender && self.goal.revoked > 0 =>
            {
                self.restore();
                self.is_awaiting_event = false;
                return Ok(Notice::None);
            }
            Status::Rejected(reject) => return Err(Fault::Refused(opcode, reject)),
        }
        match opcode {
            Opcode::Hello | Opcode::Confirm | Opcode::Report => Ok(Notice::None),
            Opcode::List => self.on_list(response.cursor, payload),
            Opcode::Surrender => Ok(self.on_surrendered()),
            Opcode::Accept => {
                let blocks = self.view(payload)?;
                let added = self.held.insert_view(&blocks);
                if added != blocks.len() {
                    return Err(Fault::BadSet(Reject::Mismatch));
                }
                Ok(Notice::Granted(blocks))
            }
            Opcode::Revoked => {
                let blocks = self.view(payload)?;
                self.held.remove_view(&blocks);
                if let Some(leaving) = &mut self.leaving {
                    leaving.blocks.remove_view(&blocks);
                }
                self.drop_empty_leaving();
                // A response may lack room for all revoked blocks; the next one has the rest.
                if self.goal.revoked == 0 {
                    self.resolved = self.asked;
                }
                Ok(Notice::Revoked(blocks))
            }
        }
    }

    fn view<'a>(&self, payload: &'a [u8]) -> Result<SetView<'a>, Fault> {
        SetView::parse(payload, self.geometry).map_err(Fault::BadSet)
    }

    fn on_hello<'a>(&mut self, response: &Response, payload: &[u8]) -> Result<Notice<'a>, Fault> {
        let hello = HelloResponse::decode(payload).ok_or(Fault::BadHello)?;
        let same_shape = hello.block_size == self.geometry.block_size()
            && hello.capacity == self.geometry.capacity();
        if response.status != Status::Ok || hello.version != VERSION || !same_shape {
            return Err(Fault::BadHello);
        }
        self.session = response.session;
        self.sequence = 0;
        self.encoding = hello.encoding;
        // A restarted device counts its goals from the start.
        self.goal = response.goal;
        self.state = State::Listing {
            cursor: 0,
            incoming: BlockSet::empty(self.geometry.capacity()),
        };
        Ok(Notice::None)
    }

    fn on_list<'a>(&mut self, next: u32, payload: &'a [u8]) -> Result<Notice<'a>, Fault> {
        let blocks = self.view(payload)?;
        let State::Listing { cursor, incoming } = &mut self.state else {
            return Err(Fault::BadResponse);
        };
        let fresh = incoming.insert_view(&blocks) == blocks.len();
        if !fresh || next <= *cursor {
            return Err(Fault::BadSet(Reject::Unordered));
        }
        *cursor = next;
        if next < self.geometry.capacity() {
            return Ok(Notice::None);
        }
        let capacity = self.geometry.capacity();
        let incoming = core::mem::replace(incoming, BlockSet::empty(capacity));
        let mut gained = incoming.clone();
        gained.subtract(&self.held);
        let mut lost = core::mem::replace(&mut self.held, incoming);
        lost.subtract(&self.held);
        self.state = State::Ready;
        Ok(Notice::Resynced { gained, lost })
    }

    fn on_surrendered<'a>(&mut self) -> Notice<'a> {
        let Some(leaving) = &mut self.leaving else {
            return Notice::None;
        };
        let count = leaving.sent;
        if count == leaving.blocks.len() {
            self.leaving = None;
        } else {
            let span = leaving.sent_to - leaving.sent_from;
            leaving.blocks.remove_range(leaving.sent_from, span);
        }
        Notice::Surrendered { count }
    }

    fn drop_empty_leaving(&mut self) {
        if self.leaving.as_ref().is_some_and(|l| l.blocks.is_empty()) {
            self.leaving = None;
        }
    }
}
