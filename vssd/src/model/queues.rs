//! The line of virtqueues: one command at a time, and events.

use alloc::vec::Vec;

use super::canonical::{Names, OfDriver};
use super::line::Line;
use super::world::World;
use crate::wire::EVENT_LEN;

/// Events on their way, at most: the driver has as many buffers.
const EVENTS: usize = 2;

/// The command queue and the event queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Queues {
    pub(super) command: Option<Vec<u8>>,
    /// The command was answered before.
    is_repeated: bool,
    pub(super) response: Option<Vec<u8>>,
    /// The last command that was answered.
    answered: Option<Vec<u8>>,
    events: Vec<[u8; EVENT_LEN]>,
}

/// What happens on the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Traffic {
    Device,
    TakeEvent,
    Deliver(usize),
    // Repetitions.
    RepeatEvent(usize),
    RepeatCommand,
}

impl Traffic {
    pub(super) fn is_repetition(self) -> bool {
        matches!(self, Self::RepeatEvent(_) | Self::RepeatCommand)
    }
}

impl Queues {
    fn of(world: &mut World) -> &mut Self {
        match &mut world.line {
            Line::Queues(queues) => queues,
            Line::Stream(_) => unreachable!("the line is a stream"),
        }
    }

    pub(super) fn send(&mut self, command: &[u8]) {
        self.command = Some(command.into());
        self.is_repeated = false;
    }

    pub(super) fn reboot(&mut self) {
        *self = Self {
            answered: self.answered.take(),
            ..Self::default()
        };
    }

    /// The connection is set up anew: the frontend saw no used entry for the command, so that comes
    /// again, and events are lost.
    pub(super) fn reconnect(&mut self) {
        self.response = None;
        self.events.clear();
    }

    /// Whether a response is on its way, or its command comes again.
    pub(super) fn has_answer(&self) -> bool {
        self.response.is_some() || self.command.is_some() && self.is_repeated
    }

    pub(super) fn forget_last(&mut self) {
        self.answered = None;
    }

    pub(super) fn visit(&mut self, driver: OfDriver, names: &mut Names) {
        for command in [&mut self.command, &mut self.answered] {
            command.iter_mut().for_each(|bytes| names.command(bytes));
        }
        if let Some(response) = &mut self.response {
            names.response(driver.session, response);
        }
        let events = self.events.iter_mut();
        events.for_each(|event| names.event(driver.oldest_goal, event));
        // They are delivered in any order.
        self.events.sort_unstable();
    }

    /// What can happen now; the first on a good line is the first.
    pub(super) fn traffic(&self, world: &World) -> Vec<Traffic> {
        let mut all: Vec<_> = (0..self.events.len()).map(Traffic::Deliver).collect();
        let has_room = self.events.len() < EVENTS;
        if self.command.is_some() && self.response.is_none() {
            all.push(Traffic::Device);
        }
        if world.device.has_event() && has_room {
            all.push(Traffic::TakeEvent);
        }
        if world.left.repeats > 0 && has_room {
            all.extend((0..self.events.len()).map(Traffic::RepeatEvent));
        }
        if world.left.repeats > 0 && self.answered.is_some() && self.command.is_none() {
            all.push(Traffic::RepeatCommand);
        }
        all
    }

    pub(super) fn step(world: &mut World, traffic: Traffic) {
        match traffic {
            Traffic::Device => {
                let queues = Self::of(world);
                let command = queues.command.clone().expect("there is a command");
                let is_repeated = core::mem::replace(&mut queues.is_repeated, true);
                let response = world.answer(&command, is_repeated);
                let queues = Self::of(world);
                queues.response = Some(response);
                queues.answered = Some(command);
            }
            Traffic::TakeEvent => {
                let event = world.device.take_event(world.now_ns);
                Self::of(world).events.extend(event);
            }
            Traffic::Deliver(at) => {
                let event = Self::of(world).events.remove(at);
                world.driver.on_event(&event);
            }
            Traffic::RepeatEvent(at) => {
                let queues = Self::of(world);
                queues.events.push(queues.events[at]);
            }
            Traffic::RepeatCommand => {
                let answered = Self::of(world).answered.clone();
                world.answer_again(&answered.expect("a command was answered"));
            }
        }
    }
}
