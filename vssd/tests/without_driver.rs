//! The device's requirements where no driver of the vSSD is there: the guest is plain, absent,
//! or was just reset.

use vssd::block_set::BlockSet;
use vssd::device::{
    Device, End, Outcome, Ownership, PickedBy, ResizeError, ResizeRequest, Shortfall,
};
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

struct Fixture {
    device: Device,
    record: Record,
    driver: Driver,
    buffer: Box<[u8]>,
}

/// A device of which the first `held` blocks are granted, and no driver.
fn fixture(held: u32) -> Fixture {
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let mut granted = BlockSet::empty(BLOCKS);
    granted.insert_range(0, held);
    Fixture {
        device: Device::new(geometry, granted, Encoding::Compact, 1),
        record: Record::default(),
        driver: Driver::new(geometry),
        buffer: command_buffer(),
    }
}

fn to(target: u32) -> ResizeRequest {
    ResizeRequest {
        target,
        picked_by: PickedBy::Guest,
        deadline_ns: Some(1000),
        revoke: true,
        force: false,
    }
}

impl Fixture {
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
                Step::Report => self.driver.report(None),
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
    let mut fixture = fixture(BLOCKS);
    for picked_by in [PickedBy::Guest, PickedBy::Host] {
        let request = ResizeRequest {
            picked_by,
            ..to(60)
        };
        let refused = fixture.device.resize(request, 0);
        assert_eq!(refused, Err(ResizeError::NoDriver));
    }
    // One that takes nothing may wait for a driver.
    let request = ResizeRequest {
        revoke: false,
        ..to(60)
    };
    fixture.device.resize(request, 0).unwrap();
    fixture.follow(1000);
    let outcome = fixture.outcome();
    assert_eq!(outcome.end, End::Partial(Shortfall::Deadline));
    assert_eq!((outcome.revoked, fixture.record.released), (0, 0));
    for (picked_by, target, at) in [(PickedBy::Guest, 60, 1000), (PickedBy::Host, 30, 0)] {
        let request = ResizeRequest {
            picked_by,
            force: true,
            ..to(target)
        };
        let before = fixture.granted();
        fixture.device.resize(request, 0).unwrap();
        fixture.follow(at);
        let outcome = fixture.outcome();
        assert_eq!((outcome.end, outcome.held), (End::Complete, target));
        assert_eq!(outcome.revoked, before - target);
    }
}

/// Its machine was stopped, or it rebooted into a system without one.
#[test]
fn dev_15_a_driver_that_goes_before_the_deadline_loses_nothing() {
    let mut fixture = fixture(BLOCKS);
    fixture.drive();
    assert!(fixture.device.has_session() && fixture.device.is_agreed());
    fixture.device.resize(to(60), 0).unwrap();
    fixture.device.disconnected();
    assert!(!fixture.device.has_session() && !fixture.device.is_agreed());
    fixture.follow(1000);
    let outcome = fixture.outcome();
    assert_eq!(outcome.end, End::Partial(Shortfall::Deadline));
    assert_eq!((outcome.revoked, fixture.granted()), (0, BLOCKS));
    assert_eq!(fixture.device.resize(to(60), 0), Err(ResizeError::NoDriver));
    // One that was only stopped says so by confirming its list again, unasked by anybody.
    fixture.drive();
    assert!(fixture.device.has_session() && fixture.device.is_agreed());
    fixture.device.resize(to(60), 0).unwrap();
    fixture.drive();
    assert_eq!((fixture.granted(), fixture.outcome().revoked), (60, 0));
}

#[test]
fn dev_16_a_grow_without_a_driver_is_granted_at_once() {
    let mut fixture = fixture(40);
    fixture.device.resize(to(90), 0).unwrap();
    assert_eq!(fixture.device.grant_due(), 50);
    fixture.follow(0);
    let outcome = fixture.outcome();
    assert_eq!((outcome.end, outcome.held), (End::Complete, 90));
    assert_eq!((outcome.exchanges, outcome.agreed), (0, false));
    assert_eq!(fixture.record.granted, 50);
    assert_eq!(fixture.device.check_io(40 * 8, 50 * 4096), Ok((40, 50)));
    assert!(fixture.device.check_io(90 * 8, 4096).is_err());
    // A driver that comes later has all of them, and nothing is recorded twice.
    fixture.drive();
    assert!(fixture.device.is_agreed());
    assert_eq!(
        (fixture.driver.held().len(), fixture.record.granted),
        (90, 50)
    );
}

#[test]
fn dev_16_what_is_granted_without_a_driver_is_accepted_by_the_next() {
    let mut fixture = fixture(BLOCKS);
    fixture.drive();
    let taken = ResizeRequest {
        picked_by: PickedBy::Host,
        ..to(60)
    };
    fixture.device.resize(taken, 0).unwrap();
    fixture.follow(0);
    assert_eq!(fixture.granted(), 60);
    // Before the driver learns of that, it is cut off, and the blocks come back.
    fixture.device.disconnected();
    fixture.follow(u64::MAX);
    fixture.device.resize(to(80), 0).unwrap();
    fixture.follow(0);
    assert_eq!(
        (fixture.granted(), fixture.driver.held().len()),
        (80, BLOCKS)
    );
    // It learns of the loss first: what it had in them is gone.
    fixture.device.reconnected();
    while let Some(event) = fixture.device.take_event(0) {
        fixture.driver.on_event(&event);
    }
    let mut least = BLOCKS;
    while !fixture.device.is_agreed() {
        let Step::Send { len } = fixture.driver.poll(&mut fixture.buffer) else {
            panic!("it has nothing to say");
        };
        let command = &fixture.buffer[..len];
        let answer = fixture
            .device
            .command(command, MAX_MESSAGE, 0, &mut fixture.record);
        fixture.driver.on_response(answer.response).unwrap();
        least = least.min(fixture.driver.held().len());
    }
    assert_eq!((least, fixture.driver.held().len()), (60, 80));
}

#[test]
fn dev_16_a_driver_that_goes_during_a_grow_is_not_waited_for() {
    let mut fixture = fixture(40);
    fixture.drive();
    fixture.device.resize(to(90), 0).unwrap();
    fixture.follow(0);
    assert_eq!((fixture.granted(), fixture.device.grant_due()), (40, 0));
    fixture.device.disconnected();
    fixture.follow(0);
    assert_eq!(
        (fixture.granted(), fixture.outcome().end),
        (90, End::Complete)
    );
    // A shrink that comes first asks for no more than the driver will have.
    fixture.device.reconnected();
    let patient = ResizeRequest {
        deadline_ns: None,
        ..to(30)
    };
    fixture.device.resize(patient, 0).unwrap();
    fixture.drive();
    assert_eq!((fixture.granted(), fixture.driver.held().len()), (30, 30));
    assert!(fixture.device.is_agreed());
}

#[test]
fn dev_13_a_grant_that_cannot_be_recorded_does_not_happen() {
    let mut fixture = fixture(40);
    fixture.record.full = true;
    fixture.device.resize(to(90), 0).unwrap();
    fixture.follow(0);
    assert_eq!(
        (fixture.granted(), fixture.outcome().end),
        (40, End::Partial(Shortfall::Storage))
    );
    fixture.record.full = false;
    fixture.device.resize(to(90), 0).unwrap();
    fixture.follow(0);
    assert_eq!((fixture.granted(), fixture.outcome().held), (90, 90));
}

/// Blocks that no driver ever had need not be told to one when they are taken again.
#[test]
fn changes_without_a_driver_are_not_reported() {
    let mut fixture = fixture(40);
    fixture.drive();
    fixture.device.disconnected();
    fixture.device.resize(to(90), 0).unwrap();
    fixture.follow(0);
    let forced = ResizeRequest {
        picked_by: PickedBy::Host,
        force: true,
        ..to(30)
    };
    assert_eq!(fixture.outcome().held, 90);
    fixture.device.resize(forced, 0).unwrap();
    fixture.follow(0);
    assert_eq!((fixture.granted(), fixture.outcome().revoked), (30, 60));
    fixture.device.reconnected();
    fixture.drive();
    assert_eq!(fixture.driver.held(), fixture.device.granted());
    assert!(fixture.device.is_agreed());
}
