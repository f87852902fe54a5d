//! A state of the protocol: both halves, the line between them, and a ledger of ownership.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Display;
use core::hash::{Hash, Hasher};

use super::canonical::{Names, OfDriver};
use super::line::{Line, Loss};
use crate::block_set::BlockSet;
use crate::device::{Device, Ownership};
use crate::driver::{Doubt, Driver, Notice, Step, command_buffer};
use crate::encoding::SetView;
use crate::error::Reject;
use crate::units::Geometry;
use crate::wire::{Encoding, RESPONSE_HEADER_LEN};

/// Blocks of the vSSD: enough for one that moves, one that moves the other way, and one that stays.
pub(super) const BLOCKS: u32 = 3;

/// Room for a response: three blocks in the encoding of 2017, 8 bytes for each of their sectors, fit.
const ROOM: usize = RESPONSE_HEADER_LEN + 256;

/// Blocks as bits.
pub(super) type Bits = u8;

/// How many of these may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) resizes: u8,
    /// Losses by resets, and changes that cannot be recorded.
    pub(super) mishaps: u8,
    /// Repetitions of commands, frames and events.
    pub(super) repeats: u8,
    /// Requests of the driver that fail.
    pub(super) doubts: u8,
}

/// The naive model: who has each block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    /// Blocks of the guest; the hypervisor has the others.
    pub(super) guest: Bits,
    /// Blocks that were taken since the driver last learned that they came.
    pub(super) lost: Bits,
    /// Those that were taken since the device made the response that is on its way, or the last one.
    since: Bits,
    /// The next change cannot be recorded.
    pub(super) fails: bool,
    /// What went wrong, if anything did.
    fault: Option<&'static str>,
}

impl Ledger {
    fn change(&mut self, blocks: &SetView<'_>, to_guest: bool) -> Result<(), &'static str> {
        if core::mem::take(&mut self.fails) {
            return Err("the medium is full");
        }
        let moved = bits(blocks.runs().flat_map(|run| run.start..run.end()));
        let owned = if to_guest { self.guest } else { !self.guest };
        if moved & owned != 0 {
            self.fault = Some("a block changed to the owner that it had");
        }
        self.guest ^= moved;
        if !to_guest {
            self.lost |= moved;
            self.since |= moved;
        }
        Ok(())
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

pub(super) fn bits(blocks: impl IntoIterator<Item = u32>) -> Bits {
    blocks.into_iter().fold(0, |bits, block| bits | 1 << block)
}

pub(super) fn set(bits: Bits) -> BlockSet {
    let mut set = BlockSet::empty(BLOCKS);
    (0..BLOCKS)
        .filter(|block| bits >> block & 1 == 1)
        .for_each(|block| {
            set.insert(block);
        });
    set
}

/// A state. Two are equal if their canonical forms are.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now_ns: u64,
    pub(super) device: Device,
    pub(super) driver: Driver,
    pub(super) line: Line,
    pub(super) ledger: Ledger,
    /// The driver's doubt, and the blocks that had been taken without its knowledge by then.
    pub(super) doubt: Option<(Doubt, Bits)>,
    /// Lives of the device.
    lives: u64,
    pub(super) left: Budget,
    /// What this state shows to be wrong.
    pub(super) fault: Option<String>,
}

impl World {
    pub(super) fn new(line: Line, encoding: Encoding, left: Budget) -> Self {
        let ledger = Ledger {
            // So that one resize can shrink it, and one can grow it.
            guest: bits(0..BLOCKS - 1),
            lost: 0,
            since: 0,
            fails: false,
            fault: None,
        };
        Self {
            now_ns: 0,
            device: Device::new(geometry(), set(ledger.guest), encoding, 1 << 32),
            driver: Driver::new(geometry()),
            line,
            ledger,
            doubt: None,
            lives: 1,
            left,
            fault: None,
        }
    }

    /// The driver looks once, and gives up `chosen` if it is to choose. False when it has nothing
    /// to do.
    pub(super) fn step_driver(&mut self, chosen: Option<(Bits, IsPart)>) -> bool {
        if let Some(response) = self.line.take_response() {
            self.on_response(&response);
            return true;
        }
        if !self.line.takes_command() {
            return false;
        }
        let step = with_buffer(|buffer| {
            let step = self.driver.poll(buffer);
            if let Step::Send { len } = step {
                self.line.send_command(&buffer[..len]);
            }
            step
        });
        match step {
            Step::Wait => return false,
            Step::Send { .. } => {}
            Step::Choose { count } => {
                let all = (
                    set(first(bits(self.driver.held().iter()), count)),
                    IsPart(false),
                );
                match chosen.map_or(all, |(bits, is_part)| (set(bits), is_part)) {
                    (blocks, IsPart(true)) => self.driver.surrender_part(blocks),
                    (blocks, IsPart(false)) => self.driver.surrender(blocks),
                }
            }
            Step::Report => self.driver.report(None),
            Step::Drain => self.driver.drained(),
        }
        true
    }

    pub(super) fn on_response(&mut self, response: &[u8]) {
        let came = match self.driver.on_response(response) {
            Ok(Notice::Granted(blocks)) => bits(blocks.runs().flat_map(|run| run.start..run.end())),
            Ok(Notice::Resynced { gained, .. }) => bits(gained.iter()),
            Ok(_) => 0,
            Err(fault) => {
                return self.fails(&format_args!(
                    "the driver found a fault of the device: {fault}"
                ));
            }
        };
        self.ledger.lost = self.ledger.lost & !came | self.ledger.since & came;
        self.check_doubt();
    }

    /// Blocks that had been taken before a doubt have left the list when it is resolved.
    fn check_doubt(&mut self) {
        let held = bits(self.driver.held().iter());
        if let Some((doubt, taken)) = &mut self.doubt {
            *taken &= held;
            if self.driver.is_resolved(*doubt) {
                if *taken != 0 {
                    self.fault = Some("a doubt was resolved, and a taken block is held".into());
                }
                self.doubt = None;
            }
        }
    }

    /// A request of the driver fails.
    pub(super) fn raise_doubt(&mut self) {
        let taken = bits(self.driver.held().iter()) & !self.ledger.guest;
        self.doubt = Some((self.driver.doubt(), taken));
    }

    /// The device carries out a command, or repeats its response.
    pub(super) fn answer(&mut self, command: &[u8], is_repeated: bool) -> Vec<u8> {
        if !is_repeated {
            self.ledger.since = 0;
        }
        let (held, excess) = (self.device.granted().len(), self.device.excess());
        let answer = self
            .device
            .command(command, ROOM, self.now_ns, &mut self.ledger);
        let (response, result) = (answer.response.into(), answer.result);
        if let Err(reject) = result
            && !matches!(
                reject,
                // What a correct driver may run into over a bad line.
                Reject::StaleSession | Reject::TooMany | Reject::Storage | Reject::NotHeld
            )
        {
            self.fails(&format_args!(
                "the device refused a correct driver: {reject}"
            ));
        }
        if self.device.granted().len() + excess < held {
            self.fails(&"the device took more than it wanted");
        }
        response
    }

    /// The device gets a command that it has answered once more, and may not carry it out.
    pub(super) fn answer_again(&mut self, command: &[u8]) {
        let before = self.ledger.guest;
        self.answer(command, true);
        if before != self.ledger.guest {
            self.fails(&"a repeated command changed ownership");
        }
    }

    /// This is wrong.
    pub(super) fn fails(&mut self, why: &dyn Display) {
        self.fault.get_or_insert_with(|| why.to_string());
    }

    /// The blocks that the hypervisor has to take now.
    pub(super) fn revocation_due(&self) -> u32 {
        self.device.revocation_due(self.now_ns)
    }

    /// The hypervisor does what is due, and takes `picks` if it has to take some.
    pub(super) fn serve(&mut self, picks: Bits) {
        if self.revocation_due() > 0 {
            let resize = self.device.resize_under_way();
            let is_forced = resize.is_some_and(|resize| resize.request.force);
            if !is_forced && !self.device.has_session() {
                self.fails(&"blocks are taken from a guest without a driver, and without force");
            }
            let _ = self
                .device
                .revoke(&set(picks), self.now_ns, &mut self.ledger);
        }
        if self.device.grant_due() > 0 {
            let _ = self.device.grant(self.now_ns, &mut self.ledger);
        }
        self.device.tick(self.now_ns);
        let overdue = |at| at <= self.now_ns;
        if self.device.next_deadline_ns().is_some_and(overdue) {
            self.fails(&"a resize goes on after its deadline");
        }
    }

    /// The guest reboots, or its agent is started again.
    pub(super) fn reboot(&mut self, loss: Loss) {
        self.driver = Driver::new(geometry());
        self.doubt = None;
        self.line.reboot(loss);
    }

    /// The backend dies, and comes back with nothing but the record of ownership.
    pub(super) fn restart_device(&mut self) {
        // What was granted without a driver is not on record as such (SPEC.md, 6.3).
        let held = bits(self.driver.held().iter());
        if held & self.ledger.lost & self.ledger.guest != 0 {
            self.reboot(Loss::All);
        }
        self.lives += 1;
        let encoding = self.device.encoding();
        self.device = Device::new(
            geometry(),
            set(self.ledger.guest),
            encoding,
            self.lives << 32,
        );
    }

    /// What is always true.
    pub(super) fn check(&mut self) {
        let held = bits(self.driver.held().iter());
        let leaving = self.driver.leaving().map_or(0, |set| bits(set.iter()));
        let wrong = if bits(self.device.granted().iter()) != self.ledger.guest {
            Some("the device's list differs from the record of ownership")
        } else if held & !self.ledger.guest & !self.ledger.lost != 0 {
            Some("the driver holds a block that it was never granted")
        } else if held & leaving != 0 {
            Some("a block is held and leaving")
        } else {
            self.ledger.fault
        };
        if let Some(wrong) = wrong {
            self.fails(&wrong);
        }
    }

    /// What is true when nothing moves any more.
    pub(super) fn check_quiet(&self) -> Result<(), &'static str> {
        let held = bits(self.driver.held().iter());
        if held != self.ledger.guest {
            return Err("nothing moves, and the lists differ: a grant or a loss was not learned");
        }
        if held & self.ledger.lost != 0 {
            return Err("a block was taken and came back behind the driver's back");
        }
        if !self.driver.is_quiet() || !self.device.is_agreed() {
            return Err("nothing moves, and the lists were not confirmed");
        }
        if self.doubt.is_some() {
            return Err("nothing moves, and a doubt is not resolved");
        }
        Ok(())
    }

    /// Hashes the canonical form, with or without what may still happen.
    pub(super) fn hash_with(&self, left: Option<Budget>, hasher: &mut impl Hasher) {
        let mut same = self.clone();
        if self.left.repeats == 0 {
            same.line.forget_last();
        }
        let has_answer = same.line.has_answer();
        if !has_answer {
            same.ledger.since = 0;
        }
        let may_repeat = self.left.mishaps + self.left.repeats > 0 || has_answer;
        let newest = same.device.generation();
        Names::rename(&mut same, self.now_ns, newest, |same, names| {
            let driver = OfDriver {
                session: same.driver.session_in_flight(),
                oldest_goal: same.driver.oldest_goal(newest, has_answer),
            };
            same.device.visit(may_repeat, names);
            same.line.visit(driver, names);
            same.driver.visit(names);
        });
        let taken = same.doubt.map(|(_, taken)| taken);
        (&same.device, &same.driver, &same.line).hash(hasher);
        (&same.ledger, taken, left, &same.fault).hash(hasher);
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.hash_with(Some(self.left), hasher);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        fingerprint(self) == fingerprint(other)
    }
}

/// More blocks of the application may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IsPart(pub(super) bool);

pub(super) fn geometry() -> Geometry {
    Geometry::new(4096, BLOCKS.into()).expect("a valid shape")
}

/// The first `count` blocks of these.
pub(super) fn first(bits: Bits, count: u32) -> Bits {
    (0..BLOCKS)
        .filter(|block| bits >> block & 1 == 1)
        .take(count as usize)
        .fold(0, |first, block| first | 1 << block)
}

/// The canonical form in 64 bits, without what may still happen.
pub(super) fn fingerprint(world: &World) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    world.hash_with(None, &mut hasher);
    hasher.finish()
}

/// Passes a buffer for commands, which is too large to be made for each step.
pub(super) fn with_buffer<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    std::thread_local! {
        static BUFFER: RefCell<Box<[u8]>> = RefCell::new(command_buffer());
    }
    BUFFER.with_borrow_mut(|buffer| use_it(buffer))
}
