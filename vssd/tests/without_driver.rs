//! The device's requirements where no driver of the vSSD is there: the guest is plain, absent,
//! or was just reset.

use vssd::block_set::BlockSet;
use vssd::device::{Device, End, Evict, Outcome, Ownership, ResizeError, ResizeRequest, Shortfall};
use vssd::driver::{Driver, Step, command_buffer};
use vssd::encoding::SetView;
use vssd::units::Geometry;
use vssd::wire::{Encoding, MAX_MESSAGE};

const BLOCKS: u32 = 100;

/// Counts what was recorded.
#[derive(Default)]
struct Record {
    released: u32,
    granted: u32,
    full: bool,
}

impl Record {
    fn check(&self) -> Result<(), &'static str> {
        if self.full { Err("full") } else { Ok(()) }
    }
}

impl Ownership for Record {
    type Error = &'static str;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.check()?;
        self.released += blocks.len();
        Ok(())
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), Self::Error> {
        self.check()?;
        self.granted += blocks.len();
        Ok(())
    }
}

struct Bench {
    device: Device,
    record: Record,
    driver: Driver,
    buffer: Box<[u8]>,
}

/// A device of which the first `held` blocks are granted, and no driver.
fn bench(held: u32) -> Bench {
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let mut granted = BlockSet::empty(BLOCKS);
    granted.insert_range(0, held);
    Bench {
        device: Device::new(geometry, granted, Encoding::Compact, 1),
        record: Record::default(),
        driver: Driver::new(geometry),
        buffer: command_buffer(),
    }
}

fn to(target: u32) -> ResizeRequest {
    ResizeRequest {
        target,
        evict: Evict::Guest,
        deadline_ns: Some(1000),
        revoke: true,
        force: false,
    }
}

impl Bench {
    /// What the glue does after anything happened, at time `now`.
    fn follow(&mut self, now: u64) {
        let due = self.device.revocation_due(now);
        if due > 0 {
            let picks = self.device.granted().last(due);
            let _ = self.device.revoke(&picks, now, &mut self.record);
        }
        if self.device.grant_due() > 0 {
            let _ = self.device.grant(now, &mut self.record);
        }
        self.device.tick(now);
    }

    /// The driver does what it has to until it waits, and gives up its highest blocks.
    fn drive(&mut self) {
        while let Some(event) = self.device.take_event(0) {
            self.driver.on_event(&event);
        }
        loop {
            match self.driver.poll(&mut self.buffer) {
                Step::Wait => return self.follow(0),
                Step::Choose { count } => {
                    let chosen = self.driver.held().last(count);
                    self.driver.surrender(chosen);
                }
                Step::Drain => self.driver.drained(),
                Step::Send { len } => {
                    let command = &self.buffer[..len];
                    let answer = self
                        .device
                        .command(command, MAX_MESSAGE, 0, &mut self.record);
                    self.driver.on_response(answer.response).unwrap();
                }
            }
        }
    }

    fn outcome(&mut self) -> Outcome {
        self.device.take_outcome().expect("the resize has ended")
    }

    fn granted(&self) -> u32 {
        self.device.granted().len()
    }
}

#[test]
fn dev_15_without_a_driver_nothing_is_taken_unless_forced() {
    let mut bench = bench(BLOCKS);
    for evict in [Evict::Guest, Evict::Host] {
        let request = ResizeRequest { evict, ..to(60) };
        let refused = bench.device.resize(request, 0);
        assert_eq!(refused, Err(ResizeError::NoDriver));
    }
    // One that takes nothing may wait for a driver.
    let request = ResizeRequest {
        revoke: false,
        ..to(60)
    };
    bench.device.resize(request, 0).unwrap();
    bench.follow(1000);
    let outcome = bench.outcome();
    assert_eq!(outcome.end, End::Partial(Shortfall::Deadline));
    assert_eq!((outcome.revoked, bench.record.released), (0, 0));
    for (evict, target, at) in [(Evict::Guest, 60, 1000), (Evict::Host, 30, 0)] {
        let request = ResizeRequest {
            evict,
            force: true,
            ..to(target)
        };
        let before = bench.granted();
        bench.device.resize(request, 0).unwrap();
        bench.follow(at);
        let outcome = bench.outcome();
        assert_eq!((outcome.end, outcome.held), (End::Complete, target));
        assert_eq!(outcome.revoked, before - target);
    }
}

/// Its machine was stopped, or it rebooted into a system without one.
#[test]
fn dev_15_a_driver_that_goes_before_the_deadline_loses_nothing() {
    let mut bench = bench(BLOCKS);
    bench.drive();
    assert!(bench.device.has_session() && bench.device.is_agreed());
    bench.device.resize(to(60), 0).unwrap();
    bench.device.disconnected();
    assert!(!bench.device.has_session() && !bench.device.is_agreed());
    bench.follow(1000);
    let outcome = bench.outcome();
    assert_eq!(outcome.end, End::Partial(Shortfall::Deadline));
    assert_eq!((outcome.revoked, bench.granted()), (0, BLOCKS));
    assert_eq!(bench.device.resize(to(60), 0), Err(ResizeError::NoDriver));
    // One that was only stopped says so by confirming its list again, unasked by anybody.
    bench.drive();
    assert!(bench.device.has_session() && bench.device.is_agreed());
    bench.device.resize(to(60), 0).unwrap();
    bench.drive();
    assert_eq!((bench.granted(), bench.outcome().revoked), (60, 0));
}

#[test]
fn dev_16_a_grow_without_a_driver_is_granted_at_once() {
    let mut bench = bench(40);
    bench.device.resize(to(90), 0).unwrap();
    assert_eq!(bench.device.grant_due(), 50);
    bench.follow(0);
    let outcome = bench.outcome();
    assert_eq!((outcome.end, outcome.held), (End::Complete, 90));
    assert_eq!((outcome.exchanges, outcome.agreed), (0, false));
    assert_eq!(bench.record.granted, 50);
    assert_eq!(bench.device.check_io(40 * 8, 50 * 4096), Ok((40, 50)));
    assert!(bench.device.check_io(90 * 8, 4096).is_err());
    // A driver that comes later has all of them, and nothing is recorded twice.
    bench.drive();
    assert!(bench.device.is_agreed());
    assert_eq!((bench.driver.held().len(), bench.record.granted), (90, 50));
}

#[test]
fn dev_16_what_is_granted_without_a_driver_is_accepted_by_the_next() {
    let mut bench = bench(BLOCKS);
    bench.drive();
    let taken = ResizeRequest {
        evict: Evict::Host,
        ..to(60)
    };
    bench.device.resize(taken, 0).unwrap();
    bench.follow(0);
    assert_eq!(bench.granted(), 60);
    // Before the driver has heard of that, it is cut off, and the blocks come back.
    bench.device.disconnected();
    bench.follow(u64::MAX);
    bench.device.resize(to(80), 0).unwrap();
    bench.follow(0);
    assert_eq!((bench.granted(), bench.driver.held().len()), (80, BLOCKS));
    // It learns of the loss first: what it had in them is gone.
    bench.device.reconnected();
    while let Some(event) = bench.device.take_event(0) {
        bench.driver.on_event(&event);
    }
    let mut least = BLOCKS;
    while !bench.device.is_agreed() {
        let Step::Send { len } = bench.driver.poll(&mut bench.buffer) else {
            panic!("it has nothing to say");
        };
        let command = &bench.buffer[..len];
        let answer = bench
            .device
            .command(command, MAX_MESSAGE, 0, &mut bench.record);
        bench.driver.on_response(answer.response).unwrap();
        least = least.min(bench.driver.held().len());
    }
    assert_eq!((least, bench.driver.held().len()), (60, 80));
}

#[test]
fn dev_16_a_driver_that_goes_during_a_grow_is_not_waited_for() {
    let mut bench = bench(40);
    bench.drive();
    bench.device.resize(to(90), 0).unwrap();
    bench.follow(0);
    assert_eq!((bench.granted(), bench.device.grant_due()), (40, 0));
    bench.device.disconnected();
    bench.follow(0);
    assert_eq!((bench.granted(), bench.outcome().end), (90, End::Complete));
    // A shrink that comes first asks for no more than the driver will have.
    bench.device.reconnected();
    let patient = ResizeRequest {
        deadline_ns: None,
        ..to(30)
    };
    bench.device.resize(patient, 0).unwrap();
    bench.drive();
    assert_eq!((bench.granted(), bench.driver.held().len()), (30, 30));
    assert!(bench.device.is_agreed());
}

#[test]
fn dev_13_a_grant_that_cannot_be_recorded_does_not_happen() {
    let mut bench = bench(40);
    bench.record.full = true;
    bench.device.resize(to(90), 0).unwrap();
    bench.follow(0);
    assert_eq!(
        (bench.granted(), bench.outcome().end),
        (40, End::Partial(Shortfall::Storage))
    );
    bench.record.full = false;
    bench.device.resize(to(90), 0).unwrap();
    bench.follow(0);
    assert_eq!((bench.granted(), bench.outcome().held), (90, 90));
}

/// Blocks that no driver ever had need not be told to one when they are taken again.
#[test]
fn what_came_and_went_without_a_driver_is_not_told() {
    let mut bench = bench(40);
    bench.drive();
    bench.device.disconnected();
    bench.device.resize(to(90), 0).unwrap();
    bench.follow(0);
    let forced = ResizeRequest {
        evict: Evict::Host,
        force: true,
        ..to(30)
    };
    assert_eq!(bench.outcome().held, 90);
    bench.device.resize(forced, 0).unwrap();
    bench.follow(0);
    assert_eq!((bench.granted(), bench.outcome().revoked), (30, 60));
    bench.device.reconnected();
    bench.drive();
    assert_eq!(bench.driver.held(), bench.device.granted());
    assert!(bench.device.is_agreed());
}
