//! The line of an agent: bytes in both directions, a frame at a time or a part of one.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;

use super::canonical::{Names, OfDriver};
use super::line::{Line, Loss};
use super::world::{World, geometry};
use crate::stream::{AgentEnd, DeviceEnd, Identity, Input, Message, visit_frame};

/// Frames on their way in a direction, at most.
const FRAMES: usize = 2;

/// Both ends, and what is between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    pub(super) agent: AgentEnd,
    device: DeviceEnd,
    to_agent: Vec<Frame>,
    to_device: Vec<Frame>,
    /// The last frame of the agent.
    last: Option<Vec<u8>>,
    /// Lives of the agent.
    agents: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Frame {
    bytes: Vec<u8>,
    is_repeated: bool,
}

/// What happens on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Traffic {
    AgentWrites,
    DeviceWrites,
    AgentReads,
    DeviceReads,
    TakeEvent,
    // Repetitions.
    RepeatFrame,
    // A response is overdue: the agent opens again.
    Reopen,
}

impl Traffic {
    pub(super) fn is_repetition(self) -> bool {
        matches!(self, Self::RepeatFrame | Self::Reopen)
    }
}

fn identity() -> Identity {
    Identity {
        geometry: geometry(),
        name: "vm1".to_owned(),
    }
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            agent: AgentEnd::open(1 << 32),
            device: DeviceEnd::new(identity()),
            to_agent: Vec::new(),
            to_device: Vec::new(),
            last: None,
            agents: 1,
        }
    }

    fn of(world: &mut World) -> &mut Self {
        match &mut world.line {
            Line::Stream(stream) => stream,
            Line::Queues(_) => unreachable!("the line is of queues"),
        }
    }

    /// The agent dies, and another starts on the same port. What it wrote may be lost, or a part.
    pub(super) fn reboot(&mut self, loss: Loss) {
        self.agents += 1;
        self.agent = AgentEnd::open(self.agents << 32);
        self.last = None;
        lose(&mut self.to_device, loss);
        if loss == Loss::All {
            self.to_agent.clear();
        }
    }

    /// The connection to the device dies, and is set up anew.
    pub(super) fn reconnect(&mut self, loss: Loss) {
        self.device = DeviceEnd::new(identity());
        lose(&mut self.to_agent, loss);
        if loss == Loss::All {
            self.to_device.clear();
        }
    }

    pub(super) fn has_answer(&self) -> bool {
        !self.to_agent.is_empty() || !self.device.output().is_empty() || !self.to_device.is_empty()
    }

    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    pub(super) fn visit(&mut self, driver: OfDriver, names: &mut Names) {
        self.agents = 0;
        self.agent.visit(driver, names);
        self.device.visit(driver, names);
        let frames = self.to_agent.iter_mut().chain(&mut self.to_device);
        let last = self.last.iter_mut();
        for bytes in frames.map(|frame| &mut frame.bytes).chain(last) {
            visit_frame(bytes, driver, names);
        }
    }

    /// What can happen now; the first on a good line is the first.
    pub(super) fn traffic(&self, world: &World) -> Vec<Traffic> {
        let mut all = Vec::new();
        if !self.to_agent.is_empty() {
            all.push(Traffic::AgentReads);
        }
        if !self.device.output().is_empty() && self.to_agent.len() < FRAMES {
            all.push(Traffic::DeviceWrites);
        }
        if !self.agent.output().is_empty() && self.to_device.len() < FRAMES {
            all.push(Traffic::AgentWrites);
        }
        if !self.to_device.is_empty() && self.device.output().is_empty() {
            all.push(Traffic::DeviceReads);
        }
        if world.device.has_event() && self.device.wants_event() {
            all.push(Traffic::TakeEvent);
        }
        if world.left.repeats > 0 {
            if self.last.is_some() && self.to_device.len() < FRAMES {
                all.push(Traffic::RepeatFrame);
            }
            all.push(Traffic::Reopen);
        }
        all
    }

    pub(super) fn step(world: &mut World, traffic: Traffic) {
        let stream = Self::of(world);
        match traffic {
            Traffic::AgentWrites => {
                let bytes = stream.agent.output().to_vec();
                stream.agent.sent(bytes.len());
                stream.last = Some(bytes.clone());
                stream.to_device.push(Frame {
                    bytes,
                    is_repeated: false,
                });
            }
            Traffic::DeviceWrites => {
                let bytes = stream.device.output().to_vec();
                stream.device.sent(bytes.len());
                stream.to_agent.push(Frame {
                    bytes,
                    is_repeated: false,
                });
            }
            Traffic::AgentReads => Self::agent_reads(world),
            Traffic::DeviceReads => Self::device_reads(world),
            Traffic::TakeEvent => {
                if let Some(event) = world.device.take_event(world.now_ns) {
                    Self::of(world).device.send_event(&event);
                }
            }
            Traffic::RepeatFrame => {
                let bytes = stream.last.clone().expect("a frame was sent");
                stream.to_device.push(Frame {
                    bytes,
                    is_repeated: true,
                });
            }
            Traffic::Reopen => stream.agent.reopen(),
        }
    }

    fn agent_reads(world: &mut World) {
        let mut stream = Self::of(world).clone();
        let frame = stream.to_agent.remove(0);
        let mut input = &frame.bytes[..];
        while !input.is_empty() {
            match stream.agent.receive(&mut input) {
                Some(Message::Opened(_)) => world.driver.restart(),
                Some(Message::Response(response)) => world.on_response(response),
                Some(Message::Event(event)) => world.driver.on_event(event),
                // There is one agent, of the device's version.
                Some(Message::Closed(reason)) => world.fails(&reason),
                None => {}
            }
        }
        world.line = Line::Stream(stream);
    }

    fn device_reads(world: &mut World) {
        let mut stream = Self::of(world).clone();
        let frame = stream.to_device.remove(0);
        let mut input = &frame.bytes[..];
        match stream.device.receive(&mut input) {
            Some(Input::Command(command, reply)) => {
                reply.send(&world.answer(command, frame.is_repeated));
            }
            Some(Input::Opened) => {
                world.device.disconnected();
                world.device.reconnected();
            }
            Some(Input::Closed(_)) | None => {}
        }
        if !input.is_empty() {
            stream.to_device.insert(
                0,
                Frame {
                    bytes: input.to_vec(),
                    ..frame
                },
            );
        }
        world.line = Line::Stream(stream);
    }
}

/// Loses frames, or the end of the last one.
fn lose(frames: &mut Vec<Frame>, loss: Loss) {
    match loss {
        Loss::None => {}
        Loss::Cut => {
            if let Some(last) = frames.last_mut() {
                last.bytes.truncate(last.bytes.len() / 2);
            }
        }
        Loss::All => frames.clear(),
    }
}
