//! What is between driver and device: virtqueues, or the byte stream of an agent.

use alloc::vec::Vec;

use super::canonical::{Names, OfDriver};
use super::queues::{self, Queues};
use super::stream::{self, Stream};
use super::world::World;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    Queues(Queues),
    Stream(Stream),
}

/// What of the line is lost when a side dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Loss {
    None,
    /// The second half of the last frame.
    Cut,
    All,
}

/// What happens on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Traffic {
    Queues(queues::Traffic),
    Stream(stream::Traffic),
}

impl Traffic {
    /// Something comes again, that a good line brings once.
    pub(super) fn is_repetition(self) -> bool {
        match self {
            Self::Queues(traffic) => traffic.is_repetition(),
            Self::Stream(traffic) => traffic.is_repetition(),
        }
    }
}

impl Line {
    /// The response that the driver is to take.
    pub(super) fn take_response(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Queues(queues) => queues.response.take().inspect(|_| queues.command = None),
            // The agent passes it on as soon as it has read it.
            Self::Stream(_) => None,
        }
    }

    /// Whether the driver may send a command.
    pub(super) fn takes_command(&self) -> bool {
        match self {
            Self::Queues(queues) => queues.command.is_none(),
            Self::Stream(stream) => stream.agent.is_open(),
        }
    }

    pub(super) fn send_command(&mut self, command: &[u8]) {
        match self {
            Self::Queues(queues) => queues.send(command),
            Self::Stream(stream) => stream.agent.send(command),
        }
    }

    /// What may be lost of it.
    pub(super) fn losses(&self) -> &'static [Loss] {
        match self {
            Self::Queues(_) => &[Loss::All],
            Self::Stream(_) => &[Loss::None, Loss::Cut, Loss::All],
        }
    }

    /// The guest's side starts over.
    pub(super) fn reboot(&mut self, loss: Loss) {
        match self {
            Self::Queues(queues) => queues.reboot(),
            Self::Stream(stream) => stream.reboot(loss),
        }
    }

    /// The device's side starts over.
    pub(super) fn reconnect(&mut self, loss: Loss) {
        match self {
            Self::Queues(queues) => queues.reconnect(),
            Self::Stream(stream) => stream.reconnect(loss),
        }
    }

    /// Whether a response may be on its way, or its command come again.
    pub(super) fn has_answer(&self) -> bool {
        match self {
            Self::Queues(queues) => queues.has_answer(),
            Self::Stream(stream) => stream.has_answer(),
        }
    }

    /// Drops what is kept to be repeated.
    pub(super) fn forget_last(&mut self) {
        match self {
            Self::Queues(queues) => queues.forget_last(),
            Self::Stream(stream) => stream.forget_last(),
        }
    }

    pub(super) fn visit(&mut self, driver: OfDriver, names: &mut Names) {
        match self {
            Self::Queues(queues) => queues.visit(driver, names),
            Self::Stream(stream) => stream.visit(driver, names),
        }
    }

    /// What can happen now; the first on a good line is the first.
    pub(super) fn traffic(&self, world: &World) -> Vec<Traffic> {
        match self {
            Self::Queues(queues) => {
                let traffic = queues.traffic(world).into_iter();
                traffic.map(Traffic::Queues).collect()
            }
            Self::Stream(stream) => {
                let traffic = stream.traffic(world).into_iter();
                traffic.map(Traffic::Stream).collect()
            }
        }
    }

    pub(super) fn step(world: &mut World, traffic: Traffic) {
        match traffic {
            Traffic::Queues(traffic) => Queues::step(world, traffic),
            Traffic::Stream(traffic) => Stream::step(world, traffic),
        }
    }

    /// The driver waits, and nothing moves: it starts over, if the line lets it. False if not.
    pub(super) fn start_over(world: &mut World) -> bool {
        match &mut world.line {
            Line::Stream(stream) if !world.driver.is_quiet() => {
                stream.agent.reopen();
                true
            }
            _ => false,
        }
    }
}
