//! The byte stream of an agent between driver and device: split at any byte, cut when a side dies,
//! with garbage and repetitions in between.

use std::collections::VecDeque;

use rand::{Rng, RngExt, rngs::SmallRng};
use vssd::stream::{AgentEnd, DeviceEnd, Identity, Input, Message};
use vssd::units::Geometry;
use vssd::wire::MAX_MESSAGE;

/// Both ends, and the bytes between them.
pub struct Stream {
    pub agent: AgentEnd,
    pub device: DeviceEnd,
    to_agent: VecDeque<u8>,
    to_device: VecDeque<u8>,
    geometry: Geometry,
    /// The last frame that the agent sent to its end, in this conversation.
    last_frame: Vec<u8>,
    /// The present frame of the agent, as far as it was sent.
    frame: Vec<u8>,
    /// Bytes go on all at once.
    pub is_calm: bool,
    pub conversations: u64,
    /// Commands of conversations that were over.
    pub refused: u64,
}

/// What the agent received.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Opened,
    Response(Vec<u8>),
    Event(Vec<u8>),
}

impl Stream {
    pub fn new(geometry: Geometry, rng: &mut SmallRng) -> Self {
        let name = "vm1".to_owned();
        Self {
            agent: AgentEnd::open(rng.random()),
            device: DeviceEnd::new(Identity { geometry, name }),
            to_agent: VecDeque::new(),
            to_device: VecDeque::new(),
            geometry,
            last_frame: Vec::new(),
            frame: Vec::new(),
            is_calm: false,
            conversations: 0,
            refused: 0,
        }
    }

    /// How many of `len` bytes go on at a time: any number, often few.
    fn portion(&self, rng: &mut SmallRng, len: usize) -> usize {
        let most = [1, 10, 100, MAX_MESSAGE][rng.random_range(0..4)];
        let some = rng.random_range(1..=most).min(len);
        if self.is_calm { len } else { some }
    }

    /// Bytes of the agent's output go on the line. False when there are none.
    pub fn send_from_agent(&mut self, rng: &mut SmallRng) -> bool {
        let output = self.agent.output();
        if output.is_empty() {
            return false;
        }
        let count = self.portion(rng, output.len());
        self.to_device.extend(&output[..count]);
        self.frame.extend(&output[..count]);
        self.agent.sent(count);
        if self.agent.output().is_empty() {
            self.last_frame = std::mem::take(&mut self.frame);
        }
        true
    }

    /// The same of the device.
    pub fn send_from_device(&mut self, rng: &mut SmallRng) -> bool {
        let output = self.device.output();
        if output.is_empty() {
            return false;
        }
        let count = self.portion(rng, output.len());
        self.to_agent.extend(&output[..count]);
        self.device.sent(count);
        true
    }

    /// The agent takes bytes from the line; whether there were any, and the message that they end.
    pub fn reach_agent(&mut self, rng: &mut SmallRng) -> (bool, Option<Received>) {
        let count = self.portion(rng, self.to_agent.len());
        let bytes: Vec<u8> = self.to_agent.iter().copied().take(count).collect();
        let mut input = &bytes[..];
        let received = self.agent.receive(&mut input).map(|message| match message {
            Message::Opened(identity) => {
                assert_eq!(identity.geometry, self.geometry);
                Received::Opened
            }
            Message::Response(response) => Received::Response(response.to_vec()),
            Message::Event(event) => Received::Event(event.to_vec()),
            // No other agent is there, nor another version.
            Message::Closed(reason) => panic!("the device closed the channel: {reason}"),
        });
        let taken = count - input.len();
        self.to_agent.drain(..taken);
        if received == Some(Received::Opened) {
            self.conversations += 1;
        }
        if !self.agent.is_open() {
            self.forget_frames();
        }
        (taken > 0, received)
    }

    /// The device takes bytes from the line, and answers the command that they end by `answer`.
    /// Whether there were any bytes, and whether an agent has opened the channel.
    pub fn reach_device(
        &mut self,
        rng: &mut SmallRng,
        answer: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> (bool, bool) {
        let count = self.portion(rng, self.to_device.len());
        let bytes: Vec<u8> = self.to_device.iter().copied().take(count).collect();
        let mut input = &bytes[..];
        let mut is_opened = false;
        match self.device.receive(&mut input) {
            Some(Input::Command(command, reply)) => reply.send(&answer(command)),
            Some(Input::Opened) => is_opened = true,
            Some(Input::Closed(_)) => self.refused += 1,
            None => {}
        }
        let taken = count - input.len();
        self.to_device.drain(..taken);
        (taken > 0, is_opened)
    }

    /// The agent dies at whatever byte of its frame, and another starts on the same port: the line
    /// stays as it is, or loses what the guest's kernel had of it.
    pub fn agent_dies(&mut self, rng: &mut SmallRng) {
        self.agent = AgentEnd::open(rng.random());
        self.forget_frames();
        let left = rng.random_range(0..=self.to_device.len());
        if rng.random() {
            self.to_device.truncate(left);
        }
        if rng.random() {
            self.to_agent.clear();
        }
    }

    /// The backend or its connection dies: what was in the socket is lost, in either direction; what
    /// the frontend had of it goes to the next one.
    pub fn connection_dies(&mut self, rng: &mut SmallRng) {
        let identity = Identity {
            geometry: self.geometry,
            name: "vm1".to_owned(),
        };
        self.device = DeviceEnd::new(identity);
        let lost = rng.random_range(0..=self.to_device.len());
        self.to_device.drain(..lost);
        let left = rng.random_range(0..=self.to_agent.len());
        self.to_agent.truncate(left);
    }

    /// Bytes of no sender, between two frames.
    pub fn insert_garbage(&mut self, rng: &mut SmallRng) {
        let mut garbage = vec![0; rng.random_range(1..300)];
        rng.fill_bytes(&mut garbage);
        if self.agent.output().is_empty() && rng.random() {
            self.to_device.extend(&garbage);
        }
        if self.device.output().is_empty() && rng.random() {
            self.to_agent.extend(&garbage);
        }
    }

    /// A byte is changed, somewhere: a frame is lost. The agent waits for its response in vain, and
    /// opens anew.
    pub fn damage(&mut self, rng: &mut SmallRng) {
        for line in [&mut self.to_agent, &mut self.to_device] {
            if !line.is_empty() {
                let at = rng.random_range(0..line.len());
                line[at] ^= 1 << rng.random_range(0..8);
            }
        }
        self.agent.reopen();
        self.forget_frames();
    }

    /// A frame of this conversation comes again.
    pub fn repeat(&mut self) {
        if self.agent.output().is_empty() {
            self.to_device.extend(&self.last_frame);
        }
    }

    fn forget_frames(&mut self) {
        self.frame.clear();
        self.last_frame.clear();
    }
}
