//! A guest that speaks the contract over a [`Frontend`].

use std::path::Path;

use vssd::block_set::BlockSet;
use vssd::demand::Demand;
use vssd::driver::{Driver, Notice, Step, command_buffer};
use vssd::units::Geometry;
use vssd::wire::EVENT_LEN;

use super::frontend::{EVENTS, Frontend, writable};

/// Where event buffers are.
const EVENT_BUFFERS: u64 = 0x9_0000;

/// Event buffers that the guest keeps available.
const EVENT_BUFFER_COUNT: u16 = 8;

/// Which blocks the application gives up.
pub type Choose = fn(&BlockSet, u32) -> BlockSet;

/// The highest `count` blocks of `held`.
pub fn highest(held: &BlockSet, count: u32) -> BlockSet {
    let mut chosen = BlockSet::empty(held.capacity());
    let skip = (held.len() - count) as usize;
    held.iter().skip(skip).for_each(|block| {
        chosen.insert(block);
    });
    chosen
}

/// Every other block, as far as that goes.
pub fn scattered(held: &BlockSet, count: u32) -> BlockSet {
    let mut chosen = BlockSet::empty(held.capacity());
    held.iter()
        .step_by(2)
        .take(count as usize)
        .for_each(|block| {
            chosen.insert(block);
        });
    chosen
}

/// Nothing.
pub fn refuse(held: &BlockSet, _count: u32) -> BlockSet {
    BlockSet::empty(held.capacity())
}

pub struct Guest {
    pub frontend: Frontend,
    pub driver: Driver,
    pub choose: Choose,
    /// What it reports when it is asked.
    pub demand: Option<Demand>,
    buffer: Box<[u8]>,
}

impl Guest {
    /// Connects, and reads the list of valid blocks.
    pub fn boot(socket: &Path, geometry: Geometry) -> Self {
        let mut guest = Self {
            frontend: Frontend::connect(socket),
            driver: Driver::new(geometry),
            choose: highest,
            demand: None,
            buffer: command_buffer(),
        };
        guest.post_events();
        guest.run_until(Driver::is_quiet);
        guest
    }

    /// Starts over on the same connection: fresh rings, and a driver that
    /// knows nothing.
    pub fn reboot(&mut self) {
        self.frontend.reset_rings();
        self.driver = Driver::new(self.driver.geometry());
        self.post_events();
    }

    fn post_events(&mut self) {
        for head in 0..EVENT_BUFFER_COUNT {
            self.post_event(head);
        }
        self.frontend.rings[EVENTS].kick();
    }

    fn post_event(&mut self, head: u16) {
        let buffer = writable(
            EVENT_BUFFERS + u64::from(head) * EVENT_LEN as u64,
            EVENT_LEN as u32,
        );
        let ring = &mut self.frontend.rings[EVENTS];
        ring.chain(&self.frontend.memory, head, &[buffer]);
        ring.publish(&self.frontend.memory, head);
    }

    /// Waits for an event and processes it.
    pub fn take_event(&mut self) {
        let ring = &mut self.frontend.rings[EVENTS];
        let (head, len) = ring.wait_used(&self.frontend.memory);
        let addr = EVENT_BUFFERS + u64::from(head) * EVENT_LEN as u64;
        let event = self.frontend.read(addr, len as usize);
        self.driver.on_event(&event);
        self.post_event(head as u16);
        self.frontend.rings[EVENTS].kick();
    }

    /// Follows the driver until it is as wanted; waits for events where it waits.
    pub fn run_until(&mut self, wanted: impl Fn(&Driver) -> bool) {
        while !wanted(&self.driver) {
            match self.driver.poll(&mut self.buffer) {
                Step::Wait => self.take_event(),
                Step::Choose { count } => {
                    let chosen = (self.choose)(self.driver.held(), count);
                    self.driver.surrender(chosen);
                }
                Step::Report => self.driver.report(self.demand.as_ref()),
                Step::Drain => self.driver.drained(),
                Step::Send { len } => {
                    let response = self.frontend.command(&self.buffer[..len]);
                    let _: Notice<'_> = self.driver.on_response(&response).unwrap();
                }
            }
        }
    }

    /// Gives up what is asked for, and does not wait for the answer.
    pub fn surrender_and_go(&mut self) {
        let mut chosen = false;
        loop {
            match self.driver.poll(&mut self.buffer) {
                Step::Wait => self.take_event(),
                Step::Choose { count } => {
                    let blocks = (self.choose)(self.driver.held(), count);
                    self.driver.surrender(blocks);
                    chosen = true;
                }
                Step::Report => self.driver.report(self.demand.as_ref()),
                Step::Drain => self.driver.drained(),
                Step::Send { len } if chosen => {
                    return self.frontend.post_command(&self.buffer[..len]);
                }
                Step::Send { len } => {
                    let response = self.frontend.command(&self.buffer[..len]);
                    let _: Notice<'_> = self.driver.on_response(&response).unwrap();
                }
            }
        }
    }

    /// Runs until the guest holds `blocks` and the device wants nothing.
    pub fn settle_at(&mut self, blocks: u32) {
        self.run_until(|driver| driver.held().len() == blocks && driver.is_quiet());
    }
}
