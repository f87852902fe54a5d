//! Both halves of the protocol against each other, over a bad line, beside a
//! naive model.
//!
//! A [`World`] holds a driver, a device, the messages on their way and the
//! model: a plain list that says of every block who owns it, and panics when a
//! block is given to an owner it has or taken from one it has not. The line
//! delays everything, repeats events and commands, reorders events, and loses
//! what is on it when one side is reset: the guest reboots, the backend dies and
//! comes back with nothing but the record of ownership, the frontend
//! reconnects and replays. At every quiet point both lists and the model must
//! be equal. A failing seed is in the panic message.

#![allow(clippy::print_stderr, reason = "a test prints its seed")]

use std::collections::VecDeque;

use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};
use vssd::block_set::BlockSet;
use vssd::device::{Device, End, Outcome, Ownership, PickedBy, ResizeRequest, Shortfall};
use vssd::driver::{Doubt, Driver, Notice, Step, command_buffer};
use vssd::encoding::SetView;
use vssd::error::Reject;
use vssd::units::Geometry;
use vssd::wire::{EVENT_LEN, Encoding, MAX_MESSAGE};

/// Who owns each block: `true` the guest, `false` the host. Naive on purpose.
struct Ledger {
    guest: Vec<bool>,
    /// How often each block was taken, and what was in it lost.
    losses: Vec<u32>,
    /// Every n-th change fails to be recorded; 0 for none.
    fail_every: u32,
    changes: u32,
}

impl Ledger {
    fn change(&mut self, blocks: &SetView<'_>, to_guest: bool) -> Result<(), &'static str> {
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

    fn as_set(&self) -> BlockSet {
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

struct World {
    rng: SmallRng,
    now: u64,
    geometry: Geometry,
    device: Device,
    ledger: Ledger,
    driver: Driver,
    /// The command in flight, and whether the device has seen it.
    command: Option<Vec<u8>>,
    response: Option<Vec<u8>>,
    /// The last command that was answered, to be repeated by a bad line.
    answered: Option<Vec<u8>>,
    events: VecDeque<[u8; EVENT_LEN]>,
    /// I/O to leaving blocks that has to end first.
    draining: u32,
    /// [`Ledger::losses`] of each block when the driver heard last that it came.
    known: Vec<u32>,
    buffer: Box<[u8]>,
    generosity: f64,
    outcomes: Vec<Outcome>,
    lives: u64,
    /// Doubts of the driver, each with the blocks that were taken before without its knowledge
    /// and have not left its list since.
    doubts: Vec<(Doubt, BlockSet)>,
    resolved: usize,
}

impl World {
    fn new(seed: u64) -> Self {
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
            rng,
        }
    }

    fn came(&mut self, blocks: impl Iterator<Item = u32>) {
        for block in blocks {
            self.known[block as usize] = self.ledger.losses[block as usize];
        }
    }

    fn random_subset(&mut self, of: &BlockSet, count: u32) -> BlockSet {
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
    fn doubt(&mut self) {
        let mut taken = self.driver.held().clone();
        taken.subtract(self.device.granted());
        self.doubts.push((self.driver.doubt(), taken));
    }

    fn check_doubts(&mut self) {
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

    fn step_driver(&mut self) -> bool {
        let moved = self.move_driver();
        self.check_doubts();
        moved
    }

    fn move_driver(&mut self) -> bool {
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
        if self.command.is_some() {
            return false;
        }
        match self.driver.poll(&mut self.buffer) {
            Step::Wait => false,
            Step::Send { len } => {
                self.command = Some(self.buffer[..len].to_vec());
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
            Step::Drain => {
                match self.draining.checked_sub(1) {
                    Some(left) => self.draining = left,
                    None => self.driver.drained(),
                }
                true
            }
        }
    }

    /// The device looks once at the command queue.
    fn step_device(&mut self) -> bool {
        let Some(command) = self.command.clone() else {
            return false;
        };
        if self.response.is_some() {
            return false;
        }
        let answer = self
            .device
            .command(&command, MAX_MESSAGE, self.now, &mut self.ledger);
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
        self.response = Some(answer.response.to_vec());
        self.answered = Some(command);
        true
    }

    fn take_event(&mut self) -> bool {
        match self.device.take_event(self.now) {
            Some(event) => {
                self.events.push_back(event);
                true
            }
            None => false,
        }
    }

    fn deliver_event(&mut self) -> bool {
        match self.events.pop_front() {
            Some(event) => {
                self.driver.on_event(&event);
                true
            }
            None => false,
        }
    }

    fn pass_time(&mut self, ns: u64) {
        self.now += ns;
        let due = self.device.revocation_due(self.now);
        if due > 0 {
            let granted = self.device.granted().clone();
            let picks = self.random_subset(&granted, due);
            let _ = self.device.revoke(&picks, self.now, &mut self.ledger);
        }
        if self.device.grant_due() > 0 {
            // [DEV-16] Nobody has to accept them, and nobody does.
            assert!(!self.device.has_session());
            let _ = self.device.grant(self.now, &mut self.ledger);
            assert_eq!(self.device.grant_due(), 0);
        }
        self.device.tick(self.now);
        self.outcomes.extend(self.device.take_outcome());
    }

    fn start_resize(&mut self) {
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
    fn mishap(&mut self) {
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
                self.lives += 1;
                // What was granted without a driver is not on record as such (SPEC.md, 6.3).
                if self.driver.held().iter().any(|block| self.is_back(block)) {
                    self.reboot();
                }
                let encoding = self.device.encoding();
                self.device = Device::new(
                    self.geometry,
                    self.ledger.as_set(),
                    encoding,
                    self.lives << 32,
                );
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

    /// Whether a block was taken, and granted again, since the driver heard that it came.
    fn is_back(&self, block: u32) -> bool {
        let block = block as usize;
        self.ledger.guest[block] && self.known[block] != self.ledger.losses[block]
    }

    fn reboot(&mut self) {
        self.driver = Driver::new(self.geometry);
        self.doubts.clear();
        self.command = None;
        self.response = None;
        self.events.clear();
    }

    fn check_always(&self) {
        let granted = self.device.granted();
        assert_eq!(granted, &self.ledger.as_set(), "device and model");
        assert_eq!(granted.len(), granted.recount());
        assert_eq!(self.driver.held().len(), self.driver.held().recount());
        if let Some(leaving) = self.driver.leaving() {
            assert!(leaving.iter().all(|b| !self.driver.held().contains(b)));
        }
    }

    /// A good line from here on: everything is delivered until nothing moves.
    fn calm_down(&mut self) {
        self.ledger.fail_every = 0;
        self.generosity = 1.0;
        self.driver.reconsider();
        for _ in 0..10_000 {
            let mut moved = self.deliver_event();
            moved |= self.step_driver();
            moved |= self.step_device();
            moved |= self.take_event();
            self.pass_time(0);
            self.check_always();
            if !moved && self.device.resize_under_way().is_none() {
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

    fn check_quiet(&self) {
        assert!(self.driver.is_quiet(), "the driver is not quiet");
        assert_eq!(self.doubts.len(), 0, "a doubt is not resolved");
        assert!(self.device.is_agreed(), "the lists were not confirmed");
        assert_eq!(self.driver.held(), self.device.granted());
        assert_eq!(self.driver.held(), &self.ledger.as_set());
        // [DEV-9] A block that was taken and came back did not do so behind its back.
        for block in self.driver.held().iter() {
            assert!(!self.is_back(block), "block {block}");
        }
    }
}

#[test]
fn both_lists_agree_at_every_quiet_point() {
    let (mut resizes, mut doubts) = (0, 0);
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..400 {
        let mut world = World::new(seed);
        let guard = SeedGuard(seed);
        world.calm_down();
        for _ in 0..4 {
            world.generosity = [1.0, 1.0, 0.5, 0.0][world.rng.random_range(0..4)];
            world.ledger.fail_every = [0, 0, 0, 3][world.rng.random_range(0..4)];
            for _ in 0..world.rng.random_range(10..120) {
                match world.rng.random_range(0..42) {
                    0..3 => world.start_resize(),
                    3 => drop(world.device.cancel(world.now)),
                    4..6 => world.mishap(),
                    6..14 => drop(world.deliver_event()),
                    14..26 => drop(world.step_driver()),
                    26..34 => drop(world.step_device()),
                    34..38 => drop(world.take_event()),
                    38..40 => world.doubt(),
                    _ => {
                        let ns = world.rng.random_range(0..500);
                        world.pass_time(ns);
                    }
                }
                world.check_always();
            }
            world.calm_down();
        }
        doubts += world.resolved;
        for outcome in &world.outcomes {
            resizes += 1;
            let label = match outcome.end {
                End::Complete => "complete",
                End::Partial(shortfall) => shortfall.label(),
            };
            *ends.entry(label).or_insert(0) += 1;
            if outcome.end == End::Complete {
                assert_eq!(outcome.held, outcome.target);
            }
        }
        drop(guard);
    }
    // The test is worth something only if all of these happened.
    assert!(resizes > 1_000, "{resizes} resizes");
    assert!(doubts > 1_000, "{doubts} doubts");
    for label in ["complete", "declined", "cancelled", "deadline", "storage"] {
        assert!(
            ends.contains_key(label),
            "no resize ended as {label}: {ends:?}"
        );
    }
}

/// Prints the seed of a run that panicked.
struct SeedGuard(u64);

#[expect(clippy::print_stderr, reason = "a test says which seed failed")]
impl Drop for SeedGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}", self.0);
        }
    }
}

/// A guest that sends garbage on the command queue is refused and changes nothing.
#[test]
fn garbage_changes_nothing() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        let _guard = SeedGuard(seed);
        world.calm_down();
        world.start_resize();
        let before = world.device.granted().clone();
        for _ in 0..200 {
            let mut bytes = world.answered.clone().unwrap();
            match world.rng.random_range(0..3) {
                0 => {
                    let len = world.rng.random_range(0..200);
                    bytes = vec![0; len];
                    world.rng.fill_bytes(&mut bytes);
                }
                1 => bytes.truncate(world.rng.random_range(0..=bytes.len())),
                _ => {
                    let at = world.rng.random_range(0..bytes.len());
                    bytes[at] ^= 1 << world.rng.random_range(0..8);
                }
            }
            // A flipped opcode may well be a right command: only ownership
            // that changes without one would be wrong.
            let room = world.rng.random_range(0..MAX_MESSAGE);
            let moved = world
                .device
                .command(&bytes, room, world.now, &mut world.ledger)
                .result
                .is_ok();
            world.check_always();
            if !moved {
                continue;
            }
        }
        assert_eq!(before.capacity(), world.device.granted().capacity());
        world.driver = Driver::new(world.geometry);
        world.command = None;
        world.response = None;
        world.calm_down();
    }
}

/// An application that is told early how many blocks are wanted, to have them ready when it
/// is asked, gets none ready that have been taken already.
#[test]
fn what_is_taken_without_asking_is_not_wanted_as_well() {
    let mut world = World::new(1);
    world.calm_down();
    let held = world.device.granted().len();
    let request = ResizeRequest {
        target: held / 2,
        picked_by: PickedBy::Host,
        deadline_ns: None,
        revoke: true,
        force: false,
    };
    world.device.resize(request, world.now).unwrap();
    world.pass_time(0);
    let mut progressed = true;
    while progressed {
        progressed = false;
        for step in [
            World::take_event,
            World::deliver_event,
            World::step_driver,
            World::step_device,
        ] {
            progressed |= step(&mut world);
            assert_eq!(world.driver.excess(), 0);
        }
    }
    assert_eq!(world.driver.held().len(), held / 2);
}

/// A shrink whose guest gives nothing ends at the deadline, by revocation.
#[test]
fn an_uncooperative_guest_cannot_keep_the_blocks() {
    let mut world = World::new(1);
    world.calm_down();
    world.generosity = 0.0;
    let held = world.device.granted().len();
    let request = ResizeRequest {
        target: held / 2,
        picked_by: PickedBy::Guest,
        deadline_ns: Some(world.now + 100),
        revoke: true,
        force: false,
    };
    world.device.resize(request, world.now).unwrap();
    for _ in 0..50 {
        world.take_event();
        world.deliver_event();
        world.step_driver();
        world.step_device();
    }
    assert_eq!(world.device.granted().len(), held, "revoked too early");
    world.pass_time(100);
    assert_eq!(world.device.granted().len(), held / 2);
    world.calm_down();
    let outcome = world.outcomes.last().unwrap();
    assert_eq!((outcome.revoked, outcome.agreed), (held - held / 2, true));

    let request = ResizeRequest {
        target: 0,
        deadline_ns: None,
        revoke: false,
        ..request
    };
    world.generosity = 0.0;
    let held = world.device.granted().len();
    world.device.resize(request, world.now).unwrap();
    for _ in 0..50 {
        world.take_event();
        world.deliver_event();
        world.step_driver();
        world.step_device();
        world.pass_time(0);
    }
    assert_eq!(world.device.granted().len(), held);
    let outcome = world.outcomes.last().unwrap();
    assert_eq!(outcome.end, End::Partial(Shortfall::Declined));
}

#[test]
fn a_driver_without_the_last_two_queues_holds_everything_and_sends_nothing() {
    let mut driver = Driver::fixed(Geometry::new(4096, 100).unwrap());
    assert_eq!(*driver.held(), BlockSet::full(100));
    assert!(driver.is_quiet() && driver.is_attached());
    assert_eq!((driver.wanted(), driver.excess()), (None, 0));
    assert_eq!(driver.poll(&mut command_buffer()), Step::Wait);
    assert!(driver.is_quiet());
}
