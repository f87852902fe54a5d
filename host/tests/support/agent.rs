//! An agent on the channel of a vSSD: the contract's driver over a UNIX socket, in place of a Linux
//! guest and QEMU's serial port.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use vssd::driver::{Driver, Step, command_buffer};
use vssd::stream::{AgentEnd, Closed, Identity, Message};

use super::PATIENCE;
use super::guest::{Choose, highest};

pub struct Agent {
    pub stream: UnixStream,
    pub end: AgentEnd,
    pub driver: Option<Driver>,
    pub identity: Option<Identity>,
    pub closed: Option<Closed>,
    pub choose: Choose,
    command: Box<[u8]>,
    /// What was read and not taken yet.
    input: Vec<u8>,
}

/// Connects as QEMU's serial port does.
pub fn port(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

impl Agent {
    /// An agent that has not sent anything yet; no two have the same `random`.
    pub fn on(stream: UnixStream, random: u64) -> Self {
        Self {
            stream,
            end: AgentEnd::open(random << 32),
            driver: None,
            identity: None,
            closed: None,
            choose: highest,
            command: command_buffer(),
            input: Vec::new(),
        }
    }

    /// Connects, and reads the list of valid blocks.
    pub fn boot(path: &Path, random: u64) -> Self {
        let mut agent = Self::on(port(path), random);
        agent.run_until(Driver::is_quiet);
        agent
    }

    /// The agent dies and another starts on the same port.
    pub fn restart(self, random: u64) -> Self {
        Self::on(self.stream, random)
    }

    pub fn driver(&self) -> &Driver {
        self.driver.as_ref().expect("the channel is open")
    }

    /// Writes what is due. A test's agent may wait for that: the device reads unless the agent does
    /// not.
    pub fn write(&mut self) {
        self.stream.write_all(self.end.output()).unwrap();
        self.end.sent(self.end.output().len());
    }

    /// Reads once, and takes what came.
    pub fn read(&mut self) {
        let mut bytes = [0; 1 << 16];
        let count = self.stream.read(&mut bytes).expect("the device answers");
        assert!(count > 0, "the device has hung up");
        self.input.extend(&bytes[..count]);
        let mut input = &self.input[..];
        while let Some(message) = self.end.receive(&mut input) {
            match (message, &mut self.driver) {
                (Message::Opened(identity), driver) => {
                    match driver {
                        Some(driver) => driver.restart(),
                        None => *driver = Some(Driver::new(identity.geometry)),
                    }
                    self.identity = Some(identity);
                }
                (Message::Response(response), Some(driver)) => {
                    driver.on_response(response).unwrap();
                }
                (Message::Event(event), Some(driver)) => driver.on_event(event),
                (Message::Closed(reason), _) => self.closed = Some(reason),
                (message, None) => panic!("{message:?} before the channel is open"),
            }
        }
        self.input.clear();
    }

    /// Whether the driver has something to send; asks the application as often as it takes.
    pub fn step(&mut self) -> bool {
        let Some(driver) = self.driver.as_mut().filter(|_| self.end.is_open()) else {
            return false;
        };
        loop {
            match driver.poll(&mut self.command) {
                Step::Wait => return false,
                Step::Choose { count } => {
                    let chosen = (self.choose)(driver.held(), count);
                    driver.surrender(chosen);
                }
                Step::Report => driver.report(None),
                Step::Drain => driver.drained(),
                Step::Send { len } => {
                    self.end.send(&self.command[..len]);
                    return true;
                }
            }
        }
    }

    /// Follows the driver until it is as wanted; waits for the device where it waits.
    pub fn run_until(&mut self, wanted: impl Fn(&Driver) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !self.driver.as_ref().is_some_and(&wanted) {
            assert!(Instant::now() < until, "{:?}", self.driver);
            self.step();
            self.write();
            if !self.driver.as_ref().is_some_and(&wanted) {
                self.read();
            }
        }
    }

    /// Runs until the guest holds `blocks` and the device wants nothing.
    pub fn settle_at(&mut self, blocks: u32) {
        self.run_until(|driver| driver.held().len() == blocks && driver.is_quiet());
    }

    /// Reads until the device does not talk to this agent.
    pub fn wait_closed(&mut self) -> Closed {
        self.write();
        while self.closed.is_none() {
            self.read();
        }
        self.closed.unwrap()
    }
}
