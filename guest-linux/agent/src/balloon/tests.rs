//! The balloon with the contract's own device, over the agent's channel, on a file system whose
//! guest dies at any step.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use proptest::prelude::*;
use vssd::block_set::BlockSet;
use vssd::device::{Device, Ownership, PickedBy, ResizeRequest};
use vssd::encoding::SetView;
use vssd::stream::{DeviceEnd, Identity, Input};
use vssd::units::Geometry;
use vssd::wire::{Encoding, MAX_MESSAGE};

use super::model::{Fs, Kind, Owner, Shared, UNIT};
use super::*;
use crate::disk::Segment;
use crate::session::Session;

const EXT4: Kind = Kind {
    frees_parts: true,
    granularity: UNIT,
    piece_len: 24 * UNIT,
};
const F2FS: Kind = Kind {
    frees_parts: false,
    granularity: 4 * UNIT,
    piece_len: 16 * UNIT,
};

/// Blocks of the file system in front of which there are others of the vSSD.
const OFFSET: u64 = 8;

/// What the host has; the record of ownership.
struct Host {
    gone: BlockSet,
}

impl Ownership for Host {
    type Error = Infallible;

    fn release(&mut self, blocks: &SetView<'_>) -> std::result::Result<(), Infallible> {
        for run in blocks.runs() {
            self.gone.insert_range(run.start, run.len);
        }
        Ok(())
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> std::result::Result<(), Infallible> {
        for run in blocks.runs() {
            self.gone.remove_range(run.start, run.len);
        }
        Ok(())
    }
}

struct World {
    fs: Rc<RefCell<Fs>>,
    geometry: Geometry,
    host: Host,
    device: Device,
    end: DeviceEnd,
    session: Option<Session>,
    reserve: Reserve,
    lives: u64,
    /// A piece was deleted: what is in use is not checked until the agent has seen it.
    is_exposed: bool,
}

impl World {
    /// A vSSD with blocks of `per_block` units, and a file system of `units` behind its start.
    fn new(kind: Kind, units: u64, per_block: u64, seed: u64) -> Self {
        let block = (per_block * UNIT) as u32;
        let geometry = Geometry::new(block, (units + OFFSET) / per_block).unwrap();
        let all = BlockSet::full(geometry.capacity());
        let mut world = Self {
            fs: Rc::new(RefCell::new(Fs::new(units as usize, kind, seed))),
            geometry,
            host: Host {
                gone: BlockSet::empty(geometry.capacity()),
            },
            device: Device::new(geometry, all, Encoding::Compact, 1 << 32),
            end: DeviceEnd::new(identity(geometry)),
            session: None,
            reserve: Reserve::Bytes(0),
            lives: 1,
            is_exposed: false,
        };
        world.start();
        world
    }

    /// An agent starts.
    fn start(&mut self) {
        self.lives += 1;
        let (fs, geometry, reserve) = (Shared(self.fs.clone()), self.geometry, self.reserve);
        self.session = Some(Session::new(
            self.lives << 32,
            Box::new(move |_| {
                let units = fs.0.borrow().state.owners.len() as u64;
                let segment = Segment {
                    from: 0,
                    len: units * UNIT,
                    to: OFFSET * UNIT,
                };
                // The first four units of the file system.
                let keep = OFFSET * UNIT..(OFFSET + 4) * UNIT;
                let layout = Layout::new(geometry, UNIT, vec![segment], &[keep])?;
                Ok(Box::new(Balloon::new(fs.clone(), layout, reserve)))
            }),
        ));
    }

    /// The backend restarts: it has the record of ownership, and no session.
    fn restart_device(&mut self) {
        self.lives += 1;
        let mut granted = BlockSet::full(self.geometry.capacity());
        granted.subtract(&self.host.gone);
        self.device = Device::new(
            self.geometry,
            granted,
            Encoding::Compact,
            (1 << 33) + self.lives,
        );
        self.end = DeviceEnd::new(identity(self.geometry));
    }

    /// No block that the device has is used, or will be if the guest dies now.
    fn check(&self) {
        if self.is_exposed {
            return;
        }
        let fs = self.fs.borrow();
        for state in fs.states.iter().chain([&fs.state]) {
            for block in self.host.gone.iter() {
                for unit in self.units_of(block) {
                    let owner = state.owners[unit];
                    let is_safe = matches!(owner, Owner::Piece(..));
                    assert!(is_safe, "the device has block {block}, which is {owner:?}");
                }
            }
        }
    }

    /// The blocks of the file system in a block of the vSSD.
    fn units_of(&self, block: u32) -> std::ops::Range<usize> {
        let per_block = u64::from(self.geometry.block_size()) / UNIT;
        let first = u64::from(block) * per_block - OFFSET;
        first as usize..(first + per_block) as usize
    }

    /// Both ends move what they have, a step at a time, until neither has anything. False when the
    /// guest died.
    fn run(&mut self) -> bool {
        loop {
            let Some(session) = &mut self.session else {
                return false;
            };
            session.work();
            if self.fs.borrow().is_dead() {
                self.session = None;
                return false;
            }
            let to_device = session.output().to_vec();
            session.sent(to_device.len());
            // Before and after each message the guest may die, too.
            if !to_device.is_empty() && self.fs.borrow_mut().step().is_err() {
                self.session = None;
                return false;
            }
            let to_agent = self.answer(&to_device);
            self.check();
            if self.fs.borrow_mut().step().is_err() {
                self.session = None;
                return false;
            }
            self.fs.borrow_mut().write_file(0);
            let session = self.session.as_mut().unwrap();
            if to_agent.is_empty() && to_device.is_empty() {
                return true;
            }
            session.receive(&to_agent).unwrap();
            if self.fs.borrow().is_dead() {
                self.session = None;
                return false;
            }
            self.check();
        }
    }

    /// What the device does with these bytes, and its bytes.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut input = bytes;
        let mut output = Vec::new();
        loop {
            output.extend_from_slice(self.end.output());
            self.end.sent(self.end.output().len());
            if self.end.wants_event()
                && let Some(event) = self.device.take_event(0)
            {
                self.end.send_event(&event);
                continue;
            }
            match self.end.receive(&mut input) {
                Some(Input::Opened) => {
                    self.device.disconnected();
                    self.device.reconnected();
                }
                Some(Input::Command(command, reply)) => {
                    let answer = self.device.command(command, MAX_MESSAGE, 0, &mut self.host);
                    reply.send(answer.response);
                }
                Some(Input::Closed(reason)) => panic!("{reason}"),
                None => break,
            }
        }
        output.extend_from_slice(self.end.output());
        self.end.sent(self.end.output().len());
        output
    }

    /// The host asks for a size.
    fn ask(&mut self, target: u32) {
        let _ = self.device.cancel(0);
        self.device.take_outcome();
        let request = ResizeRequest {
            target,
            picked_by: PickedBy::Guest,
            deadline_ns: None,
            revoke: false,
            force: false,
        };
        let _ = self.device.resize(request, 0);
    }

    /// Everything that the device does not have is the guest's again.
    fn check_settled(&self) {
        assert!(self.device.is_agreed(), "the lists differ");
        let fs = self.fs.borrow();
        let gone: Vec<usize> = self
            .host
            .gone
            .iter()
            .flat_map(|block| self.units_of(block))
            .collect();
        let ballooned = Fs::ballooned(&fs.state);
        if fs.kind.frees_parts {
            assert_eq!(ballooned, gone, "the balloon keeps what the device lacks");
        } else {
            assert!(gone.iter().all(|at| ballooned.contains(at)));
            assert!(gone.is_empty() <= ballooned.is_empty());
        }
        assert_eq!(fs.state.pieces.is_empty(), ballooned.is_empty());
        assert!(fs.state.pieces.values().all(|protected| *protected));
    }
}

fn identity(geometry: Geometry) -> Identity {
    let name = "vm1".to_owned();
    Identity { geometry, name }
}

/// The units of a test's file system.
const UNITS: u64 = 120;

impl World {
    /// Sizes that the host asks for, one after the other, with files between.
    fn scenario(&mut self) -> Vec<u32> {
        let capacity = self.geometry.capacity();
        self.fs.borrow_mut().write_file(20);
        self.fs.borrow_mut().delete(5);
        let tenths = [6, 8, 3, 10];
        tenths.map(|tenth| capacity * tenth / 10).to_vec()
    }

    /// Runs the scenario, and lets the guest die after `steps` steps. Then it starts again, on the
    /// state that `found` says, and the scenario goes on. False when it did not die.
    fn die_after(&mut self, steps: u32, found: usize, backend_dies: bool) -> bool {
        let mut has_died = false;
        self.fs.borrow_mut().left = steps;
        for target in self.scenario() {
            self.ask(target);
            if self.run() {
                self.check_settled();
                continue;
            }
            has_died = true;
            self.check();
            self.fs.borrow_mut().reboot(found);
            if backend_dies {
                self.restart_device();
            }
            self.start();
            assert!(self.run(), "it does not die again");
            self.check_settled();
        }
        self.fs.borrow_mut().left = u32::MAX;
        self.ask(self.geometry.capacity());
        assert!(self.run());
        self.check_settled();
        assert!(self.host.gone.is_empty());
        has_died
    }
}

/// Every step of a guest's life is one at which it may die.
#[test]
fn a_guest_may_die_at_any_step() {
    for (kind, per_block) in [(EXT4, 1), (EXT4, 4), (F2FS, 1)] {
        for backend_dies in [false, true] {
            for found in [0, 1, usize::MAX] {
                let died = (1..).take_while(|steps| {
                    let mut world = World::new(kind, UNITS, per_block, 7);
                    world.die_after(*steps, found, backend_dies)
                });
                let count = died.count();
                assert!(count > 60, "only {count} steps for {kind:?}");
            }
        }
    }
}

#[test]
fn a_full_file_system_gives_what_it_has() {
    let mut world = World::new(EXT4, UNITS, 1, 3);
    assert!(world.run());
    world.fs.borrow_mut().write_file(100);
    world.ask(28);
    assert!(world.run());
    world.check_settled();
    // The first four units are kept.
    let gone = world.host.gone.len();
    assert!((16..=20).contains(&gone), "{gone}");
    world.fs.borrow_mut().delete(10);
    world.ask(28);
    assert!(world.run());
    assert!((26..=30).contains(&world.host.gone.len()));
}

#[test]
fn the_reserve_is_left() {
    for (reserve, left) in [(Reserve::Bytes(30 * UNIT), 30), (Reserve::Percent(50), 60)] {
        let mut world = World::new(EXT4, UNITS, 1, 3);
        world.reserve = reserve;
        world.start();
        assert!(world.run());
        world.ask(0);
        assert!(world.run());
        world.check_settled();
        let free = world.fs.borrow().count(Owner::Free);
        // What the start of the disk keeps is free, too.
        assert!((left..left + 5).contains(&free), "{free} of {left}");
    }
}

#[test]
fn blocks_that_are_kept_are_never_given_up() {
    let mut world = World::new(EXT4, UNITS, 1, 11);
    world.ask(0);
    assert!(world.run());
    world.check_settled();
    assert_eq!(world.host.gone.next_in(0), Some(OFFSET as u32 + 4));
    assert_eq!(u64::from(world.host.gone.len()), UNITS - 4);
}

/// Freed space is trimmed, once.
#[test]
fn the_file_system_is_trimmed_after_a_grow() {
    let mut world = World::new(EXT4, UNITS, 1, 5);
    world.ask(60);
    assert!(world.run());
    let before = world.fs.borrow().trims;
    world.ask(120);
    assert!(world.run());
    assert_eq!(world.fs.borrow().trims, before + 1);
}

/// A piece is deleted while no agent is there. Nothing was written yet: all is had back.
#[test]
fn a_deleted_piece_is_covered_again() {
    for kind in [EXT4, F2FS] {
        let mut world = World::new(kind, UNITS, 1, 9);
        world.fs.borrow_mut().write_file(30);
        world.ask(90);
        assert!(world.run());
        let gone = world.host.gone.clone();
        world.fs.borrow_mut().delete_piece(0);
        world.is_exposed = true;
        world.restart_device();
        world.start();
        assert!(world.run());
        world.is_exposed = false;
        world.check();
        world.check_settled();
        assert_eq!(world.host.gone, gone);
        assert_eq!(world.fs.borrow().count(Owner::User), 30);
    }
}

/// The file system uses some of them by then: those are lost, the others are not, and the agent does
/// not fill the file system again at each start.
#[test]
fn what_is_in_use_by_then_cannot_be_had_back() {
    let mut world = World::new(EXT4, UNITS, 1, 9);
    world.ask(60);
    assert!(world.run());
    world.fs.borrow_mut().delete_piece(0);
    let written = world.fs.borrow_mut().write_file(20);
    let lost = written
        .iter()
        .filter(|at| world.host.gone.contains(**at as u32 + OFFSET as u32))
        .count();
    assert!(lost > 0);
    let session = world.session.as_mut().unwrap();
    session.woken();
    let fs = world.fs.borrow();
    let covered = Fs::ballooned(&fs.state);
    let exposed = world.host.gone.iter().filter(|block| {
        let at = (*block - OFFSET as u32) as usize;
        !covered.contains(&at)
    });
    assert_eq!(exposed.count(), lost, "only what is in use is exposed");
}

#[derive(Clone, Debug)]
enum Event {
    Ask(u32),
    Write(usize),
    Delete(usize),
    Die { steps: u32, found: usize },
    RestartBackend,
    RestartAgent,
    Look,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_u32..150).prop_map(Event::Ask),
        2 => (1_usize..40).prop_map(Event::Write),
        2 => (1_usize..40).prop_map(Event::Delete),
        2 => (1_u32..60, any::<usize>()).prop_map(|(steps, found)| Event::Die { steps, found }),
        1 => Just(Event::RestartBackend),
        1 => Just(Event::RestartAgent),
        1 => Just(Event::Look),
    ];
    proptest::collection::vec(event, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_missing_block_is_used(
        events in events(),
        seed in any::<u64>(),
        per_block in prop_oneof![Just(1_u64), Just(2), Just(8)],
        frees_parts in any::<bool>(),
    ) {
        let kind = if frees_parts { EXT4 } else { F2FS };
        let mut world = World::new(kind, UNITS, per_block, seed);
        for event in events {
            match event {
                Event::Ask(target) => world.ask(target.min(world.geometry.capacity())),
                Event::Write(blocks) => drop(world.fs.borrow_mut().write_file(blocks)),
                Event::Delete(blocks) => world.fs.borrow_mut().delete(blocks),
                Event::Die { steps, found } => {
                    world.fs.borrow_mut().left = steps;
                    let target = world.geometry.capacity() / 2;
                    world.ask(target);
                    if !world.run() {
                        world.fs.borrow_mut().reboot(found);
                        world.start();
                    }
                    world.fs.borrow_mut().left = u32::MAX;
                }
                Event::RestartBackend => world.restart_device(),
                Event::RestartAgent => world.start(),
                Event::Look => world.session.as_mut().unwrap().woken(),
            }
            prop_assert!(world.run());
            world.check();
            world.check_settled();
        }
    }
}
