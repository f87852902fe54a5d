//! The agent's end of the channel: bytes in, messages out; commands in, bytes out.
//!
//! ```text
//!                    OPENED
//!          OPENING ────────────▶ OPEN
//!           ▲ │ ▲                │ │
//!           │ │ └────────────────┘ │ CLOSED: replaced, version, busy
//!           │ └─────┬──── or ──────┘
//!           │       ▼       READY, CLOSED: unopened; or reopen()
//!           └──── CLOSED
//! ```
//!
//! The end knows nothing of blocks: a [`Driver`](crate::driver::Driver) beside it does, as over
//! virtqueues.
//!
//! ```
//! # use vssd::driver::{Driver, Step, command_buffer};
//! # use vssd::stream::{AgentEnd, DeviceEnd, Identity, Message};
//! # use vssd::units::Geometry;
//! # let identity = Identity { geometry: Geometry::new(4096, 8).unwrap(), name: "vm1".into() };
//! # let mut device_end = DeviceEnd::new(identity);
//! # let mut lines = 0;
//! # let mut read_port = || { lines += 1; let bytes = device_end.output().to_vec();
//! #   device_end.sent(bytes.len()); bytes };
//! # let random = 4;
//! let mut end = AgentEnd::open(random);
//! let mut driver: Option<Driver> = None;
//! let mut command = command_buffer();
//! let bytes = read_port();
//! let mut input = &bytes[..];
//! while let Some(message) = end.receive(&mut input) {
//!     match (message, &mut driver) {
//!         // Another vSSD needs another driver; the same one goes on with what it holds.
//!         (Message::Opened(identity), Some(driver)) if driver.geometry() == identity.geometry => {
//!             driver.restart();
//!         }
//!         (Message::Opened(identity), _) => driver = Some(Driver::new(identity.geometry)),
//!         (Message::Event(event), Some(driver)) => driver.on_event(event),
//!         (Message::Response(response), Some(driver)) => {
//!             let notice = driver.on_response(response);
//!         }
//!         (Message::Closed(reason), _) => eprintln!("{reason}"),
//!         (_, None) => {}
//!     }
//! }
//! if let Some(driver) = &mut driver
//!     && let Step::Send { len } = driver.poll(&mut command)
//! {
//!     end.send(&command[..len]);
//! }
//! let to_write = end.output().len();
//! end.sent(to_write);
//! ```

use super::frame::{Closed, Header, Identity, Kind, STREAM_VERSION};
use super::line::{Inbox, Outbox};
use crate::wire::{Request, Response};

/// What the device sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A conversation has begun. A driver that there is already calls
    /// [`restart`](crate::driver::Driver::restart): what was in flight is lost.
    Opened(Identity),
    /// The response to the command in flight, for
    /// [`on_response`](crate::driver::Driver::on_response).
    Response(&'a [u8]),
    /// An event, for [`on_event`](crate::driver::Driver::on_event).
    Event(&'a [u8]),
    /// The device does not talk to this agent. Nothing is sent before [`AgentEnd::reopen`], or before
    /// the device is connected anew.
    Closed(Closed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Opening,
    Open,
    Closed,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentEnd {
    state: State,
    pub(super) conversation: u64,
    /// The sequence of the command in flight.
    pub(super) in_flight: Option<u32>,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

impl AgentEnd {
    /// [STR-5] An end that opens a conversation. `random` tells its conversations from those of every other
    /// agent, an earlier life of this one included.
    pub fn open(random: u64) -> Self {
        let mut end = Self {
            state: State::Closed,
            conversation: random,
            in_flight: None,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
        };
        end.reopen();
        end
    }

    /// Opens another conversation: the port was closed and is there again, a response is overdue, or
    /// the reason of a CLOSED is over. What was not sent is dropped.
    pub fn reopen(&mut self) {
        // 0 stands for no conversation.
        self.conversation = self.conversation.wrapping_add(1).max(1);
        self.state = State::Opening;
        self.in_flight = None;
        self.send_open();
    }

    fn send_open(&mut self) {
        self.outbox
            .put(Header::new(Kind::Open, self.conversation), &[]);
    }

    /// True when commands can be sent.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Takes bytes from the front of `input` up to the end of a message, and returns that; `None`
    /// when there is none in `input`, all of which is taken then. Frames that are not intact, belong
    /// to another conversation or answer no command in flight are discarded [STR-4].
    pub fn receive<'a>(&'a mut self, input: &mut &[u8]) -> Option<Message<'a>> {
        while let Some(header) = self.inbox.take(input) {
            let is_ours = header.conversation == self.conversation;
            let is_known = header.version == STREAM_VERSION;
            match (header.kind, self.state) {
                // Also of another version: it says which.
                (Kind::Closed, State::Opening | State::Open)
                    if is_ours || header.conversation == 0 =>
                {
                    match Closed::decode(self.inbox.message()) {
                        Some(Closed::Unopened) => self.reopen(),
                        // [STR-6] It stays closed until there is another device.
                        Some(reason) => {
                            self.state = State::Closed;
                            self.in_flight = None;
                            return Some(Message::Closed(reason));
                        }
                        None => {}
                    }
                }
                // [STR-7] The OPEN may have gone to a device that is gone, or to none; it does no
                // harm if it comes twice.
                (Kind::Ready, State::Opening) => self.send_open(),
                (Kind::Ready, State::Open | State::Closed) => self.reopen(),
                (Kind::Opened, State::Opening) if is_ours && is_known => {
                    if let Some(identity) = Identity::decode(self.inbox.message()) {
                        self.state = State::Open;
                        return Some(Message::Opened(identity));
                    }
                }
                (Kind::Response, State::Open) if is_ours && is_known && self.is_awaited() => {
                    self.in_flight = None;
                    return Some(Message::Response(self.inbox.message()));
                }
                (Kind::Event, State::Open) if is_ours && is_known => {
                    return Some(Message::Event(self.inbox.message()));
                }
                _ => {}
            }
        }
        None
    }

    /// Whether the response that was just read is to the command in flight. One that cannot be read
    /// is: the driver judges it.
    fn is_awaited(&self) -> bool {
        let response = Response::decode(self.inbox.message());
        self.in_flight
            .is_some_and(|sequence| response.is_none_or(|(found, _)| found.sequence == sequence))
    }

    /// Sends a command. Without an open conversation it is lost, as on a line that is cut: the driver
    /// restarts when the next one is open.
    pub fn send(&mut self, command: &[u8]) {
        if self.state != State::Open {
            return;
        }
        self.in_flight = Request::decode(command)
            .ok()
            .map(|(request, _)| request.sequence);
        self.outbox
            .put(Header::new(Kind::Command, self.conversation), command);
    }

    /// The bytes to send next. Read while they cannot be written: the device takes nothing before
    /// what it has sent was read.
    pub fn output(&self) -> &[u8] {
        self.outbox.bytes()
    }

    /// The first `count` bytes of [`output`](Self::output) were sent.
    ///
    /// # Panics
    /// When there were not so many.
    pub fn sent(&mut self, count: usize) {
        self.outbox.sent(count);
    }
}
