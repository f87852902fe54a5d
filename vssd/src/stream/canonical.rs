//! The canonical form of both ends, and of frames on their way ([`Names`]).

use alloc::vec::Vec;

use super::frame::{Header, Kind};
use super::line::{Inbox, Outbox};
use super::{AgentEnd, DeviceEnd};
use crate::model::{Names, OfDriver};

impl AgentEnd {
    pub(crate) fn visit(&mut self, driver: OfDriver, names: &mut Names) {
        self.inbox.reset();
        self.outbox.visit(driver, names);
        if let Some(sequence) = &mut self.in_flight {
            names.sequence(driver.session, sequence);
        }
        names.conversation(&mut self.conversation);
    }
}

impl DeviceEnd {
    pub(crate) fn visit(&mut self, driver: OfDriver, names: &mut Names) {
        self.inbox.reset();
        self.outbox.visit(driver, names);
        if let Some(conversation) = &mut self.conversation {
            names.conversation(conversation);
        }
    }
}

impl Outbox {
    fn visit(&mut self, driver: OfDriver, names: &mut Names) {
        let mut bytes = self.bytes().to_vec();
        visit_frame(&mut bytes, driver, names);
        self.restart(bytes);
    }
}

/// The canonical form of a whole frame with its delimiters; other bytes stay as they are.
pub(crate) fn visit_frame(bytes: &mut Vec<u8>, driver: OfDriver, names: &mut Names) {
    let mut inbox = Inbox::default();
    let Some(mut header) = inbox.take(&mut &bytes[..]) else {
        return;
    };
    let mut message = inbox.message().to_vec();
    match header.kind {
        Kind::Command => names.command(&mut message),
        Kind::Response => names.response(driver.session, &mut message),
        Kind::Event => names.event(driver.oldest_goal, &mut message),
        Kind::Open | Kind::Ready | Kind::Opened | Kind::Closed => {}
    }
    names.conversation(&mut header.conversation);
    let mut outbox = Outbox::default();
    outbox.put(Header::new(header.kind, header.conversation), &message);
    *bytes = outbox.bytes().to_vec();
}
