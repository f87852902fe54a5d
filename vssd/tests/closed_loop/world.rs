//! Driver, device, the line between them, and a ledger of ownership.

use std::collections::VecDeque;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use vssd::advice::Advice;
use vssd::block_set::BlockSet;
use vssd::demand::{Demand, Point};
use vssd::device::{Device, Outcome, Ownership, PickedBy, ResizeRequest};
use vssd::driver::{Doubt, Driver, Notice, Step, command_buffer};
use vssd::encoding::SetView;
use vssd::error::Reject;
use vssd::units::Geometry;
use vssd::wire::{EVENT_LEN, Encoding, MAX_MESSAGE};

use super::stream::{Received, Stream};

/// The owner of each block: `true` the guest, `false` the host. Naive on purpose.
pub struct Ledger {
    pub guest: Vec<bool>,
    /// How often each block was taken, and what was in it lost.
    pub losses: Vec<u32>,
    /// Every n-th change fails to be recorded; 0 for none.
    pub fail_every: u32,
    pub changes: u32,
}

impl Ledger {
    pub fn change(&mut self, blocks: &SetView<'_>, to_guest: bool) -> Result<(), &'static str> {
        self.changes += 1;
        if self.fail_every > 0 && self.changes.is_multiple_of(self.fail_every) {
            return Err("the medium is full");
        }
        for run in blocks.runs() {
            for block in run.start..run.end() {
                let owner = &mut self.guest[block as usize];
                assert_ne!(*owner, to_guest, "block {block} changes to its owner");
                *owner = to_guest;
                self.losses[block as usize] += u32::from(!to_guest);
            }
        }
        Ok(())
    }

    pub fn as_set(&self) -> BlockSet {
        let mut set = BlockSet::empty(self.guest.len() as u32);
        for (block, _) in self.guest.iter().enumerate().filter(|(_, guest)| **guest) {
            set.insert(block as u32);
        }
        set
    }
}

impl Ownership for Ledger {
    type Error = &'static str;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.change(blocks, false)
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.change(blocks, true)
    }
}

pub struct World {
    pub rng: SmallRng,
    pub now: u64,
    pub geometry: Geometry,
    pub device: Device,
    pub ledger: Ledger,
    pub driver: Driver,
    /// The command in flight, and whether the device has seen it.
    pub command: Option<Vec<u8>>,
    pub response: Option<Vec<u8>>,
    /// The last command that was answered, to be repeated by a bad line.
    pub answered: Option<Vec<u8>>,
    pub events: VecDeque<[u8; EVENT_LEN]>,
    /// I/O to leaving blocks that has to end first.
    pub draining: u32,
    /// [`Ledger::losses`] of each block when the driver last learned that it came.
    pub known: Vec<u32>,
    pub buffer: Box<[u8]>,
    pub generosity: f64,
    pub outcomes: Vec<Outcome>,
    pub lives: u64,
    /// Doubts of the driver, each with the blocks that were taken before without its knowledge
    /// and have not left its list since.
    pub doubts: Vec<(Doubt, BlockSet)>,
    pub resolved: usize,
    /// What the application reported, how often this device asked for it, and how often others before
    /// it got it.
    pub reported: Vec<Option<Demand>>,
    pub requested: u64,
    pub received: u64,
    /// The agent's channel, in the place of virtqueues.
    pub stream: Option<Stream>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let capacity: u32 = rng.random_range(1..20_000);
        let geometry = Geometry::new(4096, capacity.into()).unwrap();
        let ledger = Ledger {
            guest: vec![true; capacity as usize],
            losses: vec![0; capacity as usize],
            fail_every: 0,
            changes: 0,
        };
        let encoding = if rng.random_bool(0.3) {
            Encoding::List4096
        } else {
            Encoding::Compact
        };
        let device = Device::new(geometry, ledger.as_set(), encoding, 1 << 32);
        Self {
            now: 0,
            geometry,
            device,
            ledger,
            driver: Driver::new(geometry),
            command: None,
            response: None,
            answered: None,
            events: VecDeque::new(),
            draining: 0,
            known: vec![0; capacity as usize],
            buffer: command_buffer(),
            generosity: 1.0,
            outcomes: Vec::new(),
            lives: 1,
            doubts: Vec::new(),
            resolved: 0,
            reported: Vec::new(),
            requested: 0,
            received: 0,
            stream: None,
            rng,
        }
    }

    /// The same with an agent's channel in the place of virtqueues.
    pub fn with_stream(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.stream = Some(Stream::new(world.geometry, &mut world.rng));
        world
    }

    pub fn came(&mut self, blocks: impl Iterator<Item = u32>) {
        for block in blocks {
            self.known[block as usize] = self.ledger.losses[block as usize];
        }
    }

    pub fn random_subset(&mut self, of: &BlockSet, count: u32) -> BlockSet {
        let mut blocks: Vec<u32> = of.iter().collect();
        let mut picked = BlockSet::empty(of.capacity());
        for i in 0..count.min(of.len()) as usize {
            let j = self.rng.random_range(i..blocks.len());
            blocks.swap(i, j);
            picked.insert(blocks[i]);
        }
        picked
    }

    /// The driver looks once. Returns false when it has nothing to do.
    /// A request to held blocks fails.
    pub fn doubt(&mut self) {
        let mut taken = self.driver.held().clone();
        taken.subtract(self.device.granted());
        self.doubts.push((self.driver.doubt(), taken));
    }

    pub fn check_doubts(&mut self) {
        for (_, taken) in &mut self.doubts {
            taken.intersect(self.driver.held());
        }
        let before = self.doubts.len();
        self.doubts.retain(|(doubt, taken)| {
            let is_resolved = self.driver.is_resolved(*doubt);
            assert!(!is_resolved || taken.is_empty(), "taken blocks are held");
            !is_resolved
        });
        self.resolved += before - self.doubts.len();
    }

    pub fn step_driver(&mut self) -> bool {
        let moved = self.move_driver();
        self.check_doubts();
        moved
    }

    pub fn move_driver(&mut self) -> bool {
        let moved = self.move_agent();
        if let Some(response) = self.response.take() {
            self.command = None;
            let held_before = self.driver.held().len();
            match self.driver.on_response(&response) {
                Ok(Notice::Granted(blocks)) => {
                    let (runs, count) = (blocks.runs().collect::<Vec<_>>(), blocks.len());
                    self.came(runs.into_iter().flat_map(|run| run.start..run.end()));
                    assert_eq!(self.driver.held().len(), held_before + count);
                }
                Ok(Notice::Resynced { gained, lost }) => {
                    assert!(gained.is_subset_of(self.driver.held()));
                    assert!(!lost.iter().any(|b| self.driver.held().contains(b)));
                    self.came(gained.iter());
                }
                Ok(_) => {}
                Err(fault) => panic!("the device broke the contract: {fault}"),
            }
            return true;
        }
        let is_cut = self.stream.as_ref().is_some_and(|s| !s.agent.is_open());
        if self.command.is_some() || is_cut {
            return moved;
        }
        match self.driver.poll(&mut self.buffer) {
            Step::Wait => moved,
            Step::Send { len } => {
                match &mut self.stream {
                    Some(stream) => stream.agent.send(&self.buffer[..len]),
                    None => self.command = Some(self.buffer[..len].to_vec()),
                }
                true
            }
            Step::Choose { count } => {
                let give = (f64::from(count) * self.generosity) as u32;
                let held = self.driver.held().clone();
                let chosen = self.random_subset(&held, give);
                if !chosen.is_empty() && self.rng.random_bool(0.3) {
                    self.driver.surrender_part(chosen)
                } else {
                    self.driver.surrender(chosen)
                }
                self.draining = self.rng.random_range(0..3);
                true
            }
            Step::Report => {
                let demand = self.demand();
                self.driver.report(demand.as_ref());
                self.reported.push(demand);
                true
            }
            Step::Drain => {
                match self.draining.checked_sub(1) {
                    Some(left) => self.draining = left,
                    None => self.driver.drained(),
                }
                true
            }
        }
    }

    /// The agent's end of a stream sends and receives, once. Its messages go the way of those of the
    /// virtqueues.
    fn move_agent(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let sent = stream.send_from_agent(&mut self.rng);
        let (took, received) = stream.reach_agent(&mut self.rng);
        match received {
            Some(Received::Opened) => self.driver.restart(),
            Some(Received::Response(response)) => self.response = Some(response),
            Some(Received::Event(event)) => self.driver.on_event(&event),
            None => {}
        }
        sent || took
    }

    /// The device's end, the same.
    fn move_device(&mut self) -> bool {
        let Some(mut stream) = self.stream.take() else {
            return false;
        };
        let mut rng = SmallRng::seed_from_u64(self.rng.random());
        let (took, is_opened) = stream.reach_device(&mut rng, |command| self.answer(command));
        if is_opened {
            self.device.disconnected();
            self.device.reconnected();
        }
        let sent = stream.send_from_device(&mut self.rng);
        self.stream = Some(stream);
        took || sent
    }

    /// What the application knows of its demand: nothing, or counts that it never had before.
    fn demand(&mut self) -> Option<Demand> {
        let accesses = self.reported.len() as u64;
        let mut misses = u32::MAX;
        let points = (1..self.rng.random_range(1..20)).map(|step| {
            misses -= self.rng.random_range(0..1 << 24);
            Point {
                blocks: step * 10,
                misses,
            }
        });
        let curve = points.collect();
        self.rng.random_bool(0.8).then_some(Demand {
            accesses,
            curve,
            ..Demand::default()
        })
    }

    pub fn request_report(&mut self) {
        self.requested += 1;
        self.device.request_report();
    }

    /// Any advice, which the driver has at the next quiet point.
    pub fn advise(&mut self) {
        self.device.advise(Advice {
            bypass_writes: self.rng.random(),
            admit_reused: self.rng.random(),
        });
    }

    /// [DEV-17] One for each request, and what the application said.
    pub fn check_reports(&mut self) {
        let (received, demand) = self.device.last_report();
        assert!(received <= self.requested, "more than were requested");
        let demand = demand.cloned();
        let is_known = received == 0 || self.reported.contains(&demand);
        assert!(is_known, "{demand:?} was not reported");
    }

    /// The device looks once at the command queue.
    pub fn step_device(&mut self) -> bool {
        if self.stream.is_some() {
            return self.move_device();
        }
        let Some(command) = self.command.clone() else {
            return false;
        };
        if self.response.is_some() {
            return false;
        }
        self.response = Some(self.answer(&command));
        true
    }

    /// The device carries out a command of the driver.
    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        let before = self.device.granted().clone();
        let answer = self
            .device
            .command(command, MAX_MESSAGE, self.now, &mut self.ledger);
        if let Err(reject) = answer.result {
            // What a correct driver may run into over a bad line, and no more.
            assert!(
                matches!(
                    reject,
                    Reject::StaleSession | Reject::TooMany | Reject::Storage | Reject::NotHeld
                ),
                "rejected: {reject}"
            );
        }
        let response = answer.response.to_vec();
        if self.answered.as_deref() == Some(command) {
            assert_eq!(&before, self.device.granted(), "a repeat changed ownership");
        }
        self.answered = Some(command.to_vec());
        response
    }

    pub fn take_event(&mut self) -> bool {
        if let Some(stream) = &mut self.stream {
            return stream.device.wants_event()
                && self
                    .device
                    .take_event(self.now)
                    .inspect(|event| stream.device.send_event(event))
                    .is_some();
        }
        match self.device.take_event(self.now) {
            Some(event) => {
                self.events.push_back(event);
                true
            }
            None => false,
        }
    }

    pub fn deliver_event(&mut self) -> bool {
        match self.events.pop_front() {
            Some(event) => {
                self.driver.on_event(&event);
                true
            }
            None => false,
        }
    }

    pub fn pass_time(&mut self, ns: u64) {
        self.now += ns;
        let due = self.device.revocation_due(self.now);
        if due > 0 {
            let granted = self.device.granted().clone();
            let picks = self.random_subset(&granted, due);
            let _ = self.device.revoke(&picks, self.now, &mut self.ledger);
        }
        if self.device.grant_due() > 0 {
            // [DEV-16] No driver has to accept them, and none does.
            assert!(!self.device.has_session());
            let _ = self.device.grant(self.now, &mut self.ledger);
            assert_eq!(self.device.grant_due(), 0);
        }
        self.device.tick(self.now);
        self.outcomes.extend(self.device.take_outcome());
    }

    pub fn start_resize(&mut self) {
        let capacity = self.geometry.capacity();
        let request = ResizeRequest {
            target: self.rng.random_range(0..=capacity),
            picked_by: if self.rng.random_bool(0.3) {
                PickedBy::Host
            } else {
                PickedBy::Guest
            },
            deadline_ns: self
                .rng
                .random_bool(0.7)
                .then(|| self.now + self.rng.random_range(0..2_000)),
            revoke: self.rng.random(),
            force: self.rng.random_bool(0.3),
        };
        let busy = self.device.resize_under_way().is_some();
        let before = self.device.granted().len();
        let takes = request.target < before
            && (request.picked_by == PickedBy::Host
                || request.revoke && request.deadline_ns.is_some());
        // [DEV-15]
        let unforced = takes && !request.force && !self.device.has_session();
        let started = self.device.resize(request, self.now);
        assert_eq!(started.is_err(), busy || unforced, "{started:?}");
        self.pass_time(0);
        if started.is_err() && !busy {
            assert_eq!(self.device.granted().len(), before);
        }
    }

    /// One mishap of the line or of a side.
    pub fn mishap(&mut self) {
        if let Some(stream) = self.stream.take() {
            return self.mishap_of_stream(stream);
        }
        match self.rng.random_range(0..6) {
            // The guest reboots: all it knew is gone. The frontend stops its queues, if it
            // is there to do so.
            0 => {
                self.reboot();
                if self.rng.random() {
                    self.device.disconnected();
                }
            }
            // The backend dies. What QEMU saw no used entry for comes again.
            1 => {
                self.restart_backend();
                self.response = None;
                self.events.clear();
            }
            // The frontend reconnects: the command comes again, events are lost.
            2 => {
                self.response = None;
                self.events.clear();
                self.device.disconnected();
                self.device.reconnected();
            }
            // The machine is stopped, and goes on with what it knew.
            3 => self.device.disconnected(),
            // An event comes twice, or out of order.
            4 => {
                if let Some(event) = self.events.pop_front() {
                    if self.rng.random() {
                        self.events.push_back(event);
                    }
                    self.events.push_back(event);
                }
            }
            // A command comes again after it was answered.
            _ => {
                if let (Some(command), None) = (self.answered.clone(), &self.command) {
                    let before = self.device.granted().clone();
                    let _ = self
                        .device
                        .command(&command, MAX_MESSAGE, self.now, &mut self.ledger);
                    assert_eq!(&before, self.device.granted(), "a repeat changed ownership");
                }
            }
        }
    }

    /// One mishap of a stream or of its ends.
    fn mishap_of_stream(&mut self, mut stream: Stream) {
        let rng = &mut self.rng;
        match rng.random_range(0..7) {
            0 => {
                stream.agent_dies(rng);
                let is_reset = rng.random();
                self.reboot();
                if is_reset {
                    self.device.disconnected();
                }
            }
            1 => {
                stream.connection_dies(rng);
                if self.restart_backend() {
                    stream.agent_dies(&mut self.rng);
                }
            }
            2 => {
                stream.connection_dies(rng);
                self.device.disconnected();
            }
            3 => self.device.disconnected(),
            4 => stream.insert_garbage(rng),
            5 => stream.damage(rng),
            _ => stream.repeat(),
        }
        self.stream = Some(stream);
    }

    /// The backend dies, and comes back with nothing but the record of ownership. True when the guest
    /// is rebooted as well.
    fn restart_backend(&mut self) -> bool {
        self.lives += 1;
        self.received += self.device.last_report().0;
        self.requested = 0;
        // What was granted without a driver is not on record as such (SPEC.md, 6.3).
        let reboots = self.driver.held().iter().any(|block| self.is_back(block));
        if reboots {
            self.reboot();
        }
        let encoding = self.device.encoding();
        self.device = Device::new(
            self.geometry,
            self.ledger.as_set(),
            encoding,
            self.lives << 32,
        );
        reboots
    }

    /// Whether a block was taken, and granted again, since the driver learned that it came.
    pub fn is_back(&self, block: u32) -> bool {
        let block = block as usize;
        self.ledger.guest[block] && self.known[block] != self.ledger.losses[block]
    }

    pub fn reboot(&mut self) {
        self.driver = Driver::new(self.geometry);
        self.doubts.clear();
        self.command = None;
        self.response = None;
        self.events.clear();
    }

    pub fn check_always(&self) {
        let granted = self.device.granted();
        assert_eq!(granted, &self.ledger.as_set(), "device and model");
        assert_eq!(granted.len(), granted.recount());
        assert_eq!(self.driver.held().len(), self.driver.held().recount());
        if let Some(leaving) = self.driver.leaving() {
            assert!(leaving.iter().all(|b| !self.driver.held().contains(b)));
        }
    }

    /// A good line from here on: everything is delivered until nothing moves.
    pub fn calm_down(&mut self) {
        self.ledger.fail_every = 0;
        self.generosity = 1.0;
        self.driver.reconsider();
        self.stream
            .iter_mut()
            .for_each(|stream| stream.is_calm = true);
        for _ in 0..10_000 {
            let mut moved = self.deliver_event();
            moved |= self.step_driver();
            moved |= self.step_device();
            moved |= self.take_event();
            self.pass_time(0);
            self.check_always();
            if !moved && self.device.resize_under_way().is_none() {
                self.stream
                    .iter_mut()
                    .for_each(|stream| stream.is_calm = false);
                return self.check_quiet();
            }
            if !moved {
                // Nothing but the clock can move this on.
                assert!(self.device.next_deadline_ns().is_some(), "stuck");
                self.pass_time(1_000);
            }
        }
        panic!("no quiet point within 10000 steps");
    }

    pub fn check_quiet(&self) {
        assert!(self.driver.is_quiet(), "the driver is not quiet");
        assert_eq!(self.doubts.len(), 0, "a doubt is not resolved");
        assert!(self.device.is_agreed(), "the lists were not confirmed");
        // [DEV-18]
        assert_eq!(self.driver.advice(), self.device.advice());
        assert_eq!(self.driver.held(), self.device.granted());
        assert_eq!(self.driver.held(), &self.ledger.as_set());
        // [DEV-9] A block that was taken and came back did not do so behind its back.
        for block in self.driver.held().iter() {
            assert!(!self.is_back(block), "block {block}");
        }
    }
}
