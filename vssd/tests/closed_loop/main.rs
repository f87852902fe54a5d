//! Both halves of the protocol against each other, over a bad line, beside a
//! naive model. The line is that of virtqueues, or the byte stream of an agent ([`stream`]).
//!
//! A [`World`] holds a driver, a device, the messages on their way and the model: a plain list of
//! the owner of every block, which and panics when a block is given to an owner it has or taken
//! from one it has not. The line delays everything, repeats events and commands, reorders events,
//! and loses what is on it when one side is reset: the guest reboots, the backend dies and comes
//! back with nothing but the record of ownership, the frontend reconnects and replays. At every
//! quiet point both lists and the model must be equal. A failing seed is in the panic message.

#![allow(clippy::print_stderr, reason = "a test prints its seed")]

mod stream;
mod world;

use rand::{Rng, RngExt};
use vssd::block_set::BlockSet;
use vssd::device::{End, PickedBy, ResizeRequest, Shortfall};
use vssd::driver::{Driver, Step, command_buffer};
use vssd::units::Geometry;
use vssd::wire::MAX_MESSAGE;

use world::World;

#[test]
fn both_lists_agree_at_every_quiet_point() {
    run(400, World::new, |_| {});
}

/// The same over the byte stream of an agent.
#[test]
fn both_lists_agree_at_every_quiet_point_over_a_stream() {
    let (mut conversations, mut refused) = (0, 0);
    run(400, World::with_stream, |world| {
        let stream = world.stream.as_ref().expect("it has one");
        conversations += stream.conversations;
        refused += stream.refused;
    });
    // As below.
    assert!(conversations > 1_000, "{conversations} conversations");
    assert!(
        refused > 20,
        "{refused} commands were of another conversation"
    );
}

/// Runs a world for each seed, and shows each at its end.
fn run(seeds: u64, make: fn(u64) -> World, mut show: impl FnMut(&World)) {
    let (mut resizes, mut doubts, mut reports) = (0, 0, 0);
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..seeds {
        let mut world = make(seed);
        let guard = SeedGuard(seed);
        world.calm_down();
        for _ in 0..4 {
            world.generosity = [1.0, 1.0, 0.5, 0.0][world.rng.random_range(0..4)];
            world.ledger.fail_every = [0, 0, 0, 3][world.rng.random_range(0..4)];
            for _ in 0..world.rng.random_range(10..120) {
                match world.rng.random_range(0..44) {
                    0..3 => world.start_resize(),
                    3 => drop(world.device.cancel(world.now)),
                    4..6 => world.mishap(),
                    6..14 => drop(world.deliver_event()),
                    14..26 => drop(world.step_driver()),
                    26..34 => drop(world.step_device()),
                    34..38 => drop(world.take_event()),
                    38..40 => world.doubt(),
                    40 => world.request_report(),
                    41 => world.advise(),
                    _ => {
                        let ns = world.rng.random_range(0..500);
                        world.pass_time(ns);
                    }
                }
                world.check_always();
                world.check_reports();
            }
            world.calm_down();
        }
        doubts += world.resolved;
        reports += world.received + world.device.last_report().0;
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
        show(&world);
        drop(guard);
    }
    // The test is worth something only if all of these happened.
    assert!(resizes > 1_000, "{resizes} resizes");
    assert!(doubts > 1_000, "{doubts} doubts");
    assert!(reports > 2 * seeds, "{reports} reports");
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

/// An application that learns early how many blocks are wanted, to have them ready when it is
/// asked, gets none ready that have been taken already.
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
