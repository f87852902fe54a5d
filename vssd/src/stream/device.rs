//! The device's end of the channel: bytes in, commands out; responses and events in, bytes out.
//!
//! One end lives as long as one connection of a frontend. It takes nothing while something of it
//! is not sent: an agent that does not read gets no more answers, and costs the memory of one frame
//! in each direction [STR-11].

use super::frame::{Closed, Header, Identity, Kind, STREAM_VERSION};
use super::line::{Inbox, Outbox};
use crate::wire::EVENT_LEN;

/// What an agent sent.
#[derive(Debug)]
pub enum Input<'a> {
    /// It has opened a conversation: whoever spoke before is gone.
    Opened,
    /// A command, and where the response goes.
    Command(&'a [u8], Reply<'a>),
    /// Something of an agent that the device does not talk to; the answer says why.
    Closed(Closed),
}

/// The place of the response to a command.
#[derive(Debug)]
pub struct Reply<'a> {
    outbox: &'a mut Outbox,
    conversation: u64,
}

impl Reply<'_> {
    /// Sends the response.
    pub fn send(self, response: &[u8]) {
        let header = Header::new(Kind::Response, self.conversation);
        self.outbox.put(header, response);
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceEnd {
    identity: Identity,
    /// The conversation that was opened last on this connection.
    pub(super) conversation: Option<u64>,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

impl DeviceEnd {
    /// [STR-8] The end of a new connection of the vSSD that `identity` names. It announces itself, so that an
    /// agent whose device restarted need not wait to find out.
    pub fn new(identity: Identity) -> Self {
        let mut end = Self {
            identity,
            conversation: None,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
        };
        end.outbox.put(Header::new(Kind::Ready, 0), &[]);
        end
    }

    /// True when an agent has opened a conversation.
    pub fn is_open(&self) -> bool {
        self.conversation.is_some()
    }

    /// Takes bytes from the front of `input` up to the end of what concerns the device, and returns
    /// that. It takes none while [`output`](Self::output) is not empty: what is left of `input` is to
    /// be passed again once that is sent.
    pub fn receive<'a>(&'a mut self, input: &mut &[u8]) -> Option<Input<'a>> {
        while self.outbox.is_empty() {
            let header = self.inbox.take(input)?;
            match header.kind {
                Kind::Open | Kind::Command if header.version != STREAM_VERSION => {
                    return Some(self.close(header, Closed::Version(STREAM_VERSION)));
                }
                // [STR-9] One that comes again is answered again, and is no other agent.
                Kind::Open => {
                    let repeated = self.conversation.replace(header.conversation);
                    let opened = Header::new(Kind::Opened, header.conversation);
                    self.outbox.put(opened, &self.identity.encode());
                    if repeated != Some(header.conversation) {
                        return Some(Input::Opened);
                    }
                }
                Kind::Command if self.conversation == Some(header.conversation) => {
                    let reply = Reply {
                        outbox: &mut self.outbox,
                        conversation: header.conversation,
                    };
                    return Some(Input::Command(self.inbox.message(), reply));
                }
                // [STR-10] An agent that was replaced gets CLOSED, and does not open again: two would
                // take the channel from each other forever.
                Kind::Command if self.is_open() => {
                    return Some(self.close(header, Closed::Replaced));
                }
                Kind::Command => return Some(self.close(header, Closed::Unopened)),
                Kind::Ready | Kind::Opened | Kind::Response | Kind::Event | Kind::Closed => {
                    self.inbox.discard();
                }
            }
        }
        None
    }

    fn close(&mut self, refused: Header, reason: Closed) -> Input<'static> {
        let header = Header::new(Kind::Closed, refused.conversation);
        self.outbox.put(header, &reason.encode());
        Input::Closed(reason)
    }

    /// True when [`send_event`](Self::send_event) may be called: there is an agent, and room.
    pub fn wants_event(&self) -> bool {
        self.is_open() && self.outbox.is_empty()
    }

    /// Sends an event.
    ///
    /// # Panics
    /// When it is not wanted.
    pub fn send_event(&mut self, event: &[u8; EVENT_LEN]) {
        assert!(self.outbox.is_empty(), "the last frame is not sent yet");
        let conversation = self.conversation.expect("an agent has opened");
        self.outbox
            .put(Header::new(Kind::Event, conversation), event);
    }

    /// The bytes to send next.
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

    /// How many frames were discarded since the last call: not intact, or not for a device.
    pub fn take_discarded(&mut self) -> u64 {
        self.inbox.take_discarded()
    }
}

/// The bytes that refuse a connection while another one has the channel.
pub fn busy() -> alloc::vec::Vec<u8> {
    let mut outbox = Outbox::default();
    outbox.put(Header::new(Kind::Closed, 0), &Closed::Busy.encode());
    outbox.bytes().to_vec()
}
