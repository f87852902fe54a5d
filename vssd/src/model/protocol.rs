//! Every next step of a state, and what is checked of it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use stateright::{Model, Property};

use super::line::{Line, Loss, Traffic};
use super::world::{BLOCKS, Bits, Budget, IsPart, World, bits, fingerprint, first, with_buffer};
use crate::device::{End, PickedBy, ResizeRequest};
use crate::driver::Step;
use crate::wire::Encoding;

/// From now to the deadline of a resize.
const DEADLINE_NS: u64 = 1_000_000_000;

/// Steps in which a good line brings a state to a quiet point, at most.
const CALM_STEPS: usize = 300;

/// Who decides what of a shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Asked {
        deadline: bool,
        revoke: bool,
        force: bool,
    },
    Taken {
        force: bool,
    },
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Driver,
    Choose(Bits, IsPart),
    Line(Traffic),
    Serve(Bits),
    Time(Bits),
    Resize(u32, Kind),
    Cancel,
    Doubt,
    Fail(Mishap),
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mishap {
    /// The guest, or its agent; the frontend sees it, or does not.
    Reboot { stops: bool, loss: Loss },
    /// The backend dies, and comes back.
    Restart(Loss),
    /// The connection is set up anew.
    Reconnect(Loss),
    /// The machine is stopped, and goes on with what it knew.
    Stop,
    /// The next change of ownership cannot be recorded.
    FailToRecord,
}

/// The protocol over a line.
pub(super) struct Protocol {
    line: fn() -> Line,
    encoding: Encoding,
    budget: Budget,
    /// States from which a good line is known to lead to a quiet point.
    calm: Mutex<HashSet<u64>>,
    pub(super) steps: AtomicU64,
    /// How resizes ended.
    pub(super) ends: Mutex<BTreeSet<&'static str>>,
}

impl Protocol {
    pub(super) fn new(line: fn() -> Line, encoding: Encoding, budget: Budget) -> Self {
        Self {
            line,
            encoding,
            budget,
            calm: Mutex::default(),
            steps: AtomicU64::new(0),
            ends: Mutex::default(),
        }
    }

    /// Subsets of `of` with `count` blocks.
    fn subsets(of: Bits, count: u32) -> impl Iterator<Item = Bits> {
        (0..1 << BLOCKS).filter(move |some: &Bits| some & !of == 0 && some.count_ones() == count)
    }

    /// What the driver could do now.
    fn of_driver(world: &World, actions: &mut Vec<Action>) {
        let mut next = world.clone();
        if next.line.take_response().is_some() {
            return actions.push(Action::Driver);
        }
        if !next.line.takes_command() {
            return;
        }
        match with_buffer(|buffer| next.driver.poll(buffer)) {
            Step::Wait => {}
            Step::Choose { count } => {
                let held = bits(next.driver.held().iter());
                for some in 0..=count {
                    for picked in Self::subsets(held, some) {
                        actions.push(Action::Choose(picked, IsPart(false)));
                        if some > 0 {
                            actions.push(Action::Choose(picked, IsPart(true)));
                        }
                    }
                }
            }
            _ => actions.push(Action::Driver),
        }
    }

    /// What the hypervisor could pick, if it has to take blocks now; otherwise nothing.
    fn picks(world: &World) -> Vec<Bits> {
        let due = world.revocation_due();
        Self::subsets(world.ledger.guest, due).collect()
    }

    fn resizes(world: &World, actions: &mut Vec<Action>) {
        if world.device.resize_under_way().is_some() || world.left.resizes == 0 {
            return;
        }
        let held = world.device.granted().len();
        for target in 0..=BLOCKS {
            let kinds: &[Kind] = match target.cmp(&held) {
                Ordering::Equal => &[],
                Ordering::Greater => &[Kind::Asked {
                    deadline: true,
                    revoke: false,
                    force: false,
                }],
                Ordering::Less => &[
                    Kind::Asked {
                        deadline: false,
                        revoke: false,
                        force: false,
                    },
                    Kind::Asked {
                        deadline: true,
                        revoke: false,
                        force: false,
                    },
                    Kind::Asked {
                        deadline: true,
                        revoke: true,
                        force: false,
                    },
                    Kind::Asked {
                        deadline: true,
                        revoke: true,
                        force: true,
                    },
                    Kind::Taken { force: false },
                    Kind::Taken { force: true },
                ],
            };
            actions.extend(kinds.iter().map(|kind| Action::Resize(target, *kind)));
        }
    }

    fn mishaps(world: &World, actions: &mut Vec<Action>) {
        if world.left.mishaps == 0 {
            return;
        }
        let mut fails = |mishap| actions.push(Action::Fail(mishap));
        for loss in world.line.losses() {
            let loss = *loss;
            fails(Mishap::Reboot { stops: true, loss });
            fails(Mishap::Reboot { stops: false, loss });
            fails(Mishap::Restart(loss));
            fails(Mishap::Reconnect(loss));
        }
        fails(Mishap::Stop);
        if !world.ledger.fails {
            fails(Mishap::FailToRecord);
        }
    }

    fn carry_out(world: &mut World, action: &Action) {
        match *action {
            Action::Driver => drop(world.step_driver(None)),
            Action::Choose(picked, is_part) => {
                world.step_driver(Some((picked, is_part)));
            }
            Action::Line(traffic) => {
                world.left.repeats -= u8::from(traffic.is_repetition());
                Line::step(world, traffic);
            }
            Action::Serve(picks) => world.serve(picks),
            Action::Time(picks) => {
                pass_time(world);
                world.serve(picks);
            }
            Action::Resize(target, kind) => {
                world.left.resizes -= 1;
                let deadline = Some(world.now_ns + DEADLINE_NS);
                let request = match kind {
                    Kind::Asked {
                        deadline: has_one,
                        revoke,
                        force,
                    } => ResizeRequest {
                        target,
                        picked_by: PickedBy::Guest,
                        deadline_ns: deadline.filter(|_| has_one),
                        revoke,
                        force,
                    },
                    Kind::Taken { force } => ResizeRequest {
                        target,
                        picked_by: PickedBy::Host,
                        deadline_ns: deadline,
                        revoke: true,
                        force,
                    },
                };
                // One that is refused changes nothing, which the caller sees as the same state.
                let _ = world.device.resize(request, world.now_ns);
            }
            Action::Cancel => {
                world.device.cancel(world.now_ns);
            }
            Action::Doubt => {
                world.left.doubts -= 1;
                world.raise_doubt();
            }
            Action::Fail(mishap) => {
                world.left.mishaps -= 1;
                Self::fail(world, mishap);
            }
        }
    }

    fn fail(world: &mut World, mishap: Mishap) {
        match mishap {
            Mishap::Reboot { stops, loss } => {
                world.reboot(loss);
                if stops {
                    world.device.disconnected();
                }
            }
            Mishap::Restart(loss) => {
                world.restart_device();
                world.line.reconnect(loss);
            }
            Mishap::Reconnect(loss) => {
                world.line.reconnect(loss);
                world.device.disconnected();
                world.device.reconnected();
            }
            Mishap::Stop => world.device.disconnected(),
            Mishap::FailToRecord => world.ledger.fails = true,
        }
    }

    /// Whether a good line brings this state to a quiet point.
    pub(super) fn calms_down(&self, world: &World) -> Result<(), String> {
        let mut world = world.clone();
        world.ledger.fails = false;
        world.driver.reconsider();
        let mut seen = Vec::new();
        for _ in 0..CALM_STEPS {
            let key = fingerprint(&world);
            if self.calm.lock().expect("no thread panics").contains(&key) {
                break;
            }
            seen.push(key);
            let moved = checked(&mut world, step_calmly).unwrap_or(false);
            if let Some(fault) = &world.fault {
                return Err(fault.clone());
            }
            if !moved {
                world.check_quiet()?;
                break;
            }
            if seen.len() == CALM_STEPS {
                return Err(format!(
                    "no quiet point in {CALM_STEPS} steps of a good line"
                ));
            }
        }
        self.calm.lock().expect("no thread panics").extend(seen);
        Ok(())
    }
}

/// Takes a step, and checks what is always true; `None` when it panicked.
fn checked<R>(world: &mut World, step: impl FnOnce(&mut World) -> R) -> Option<R> {
    let result = catch_unwind(AssertUnwindSafe(|| step(world)));
    if let Err(panic) = &result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
        world.fails(&format_args!("it panicked: {}", text.unwrap_or_default()));
    }
    world.check();
    result.ok()
}

/// One step of a good line, on which everything is delivered in order; false when nothing moves.
fn step_calmly(world: &mut World) -> bool {
    let mut traffic = world.line.traffic(world).into_iter();
    if let Some(traffic) = traffic.find(|next| !next.is_repetition()) {
        Line::step(world, traffic);
        return true;
    }
    if world.step_driver(None) {
        return true;
    }
    let serve = |world: &mut World| {
        let picks = first(world.ledger.guest, world.revocation_due());
        world.serve(picks);
    };
    if world.revocation_due() > 0 || world.device.grant_due() > 0 {
        serve(world);
        return true;
    }
    if world.device.resize_under_way().is_some() {
        pass_time(world);
        serve(world);
        return true;
    }
    Line::start_over(world)
}

/// To the next deadline; if there is none, the hypervisor cancels what waits for ever.
fn pass_time(world: &mut World) {
    match world.device.next_deadline_ns() {
        Some(at) => world.now_ns = world.now_ns.max(at),
        None => {
            world.device.cancel(world.now_ns);
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new((self.line)(), self.encoding, self.budget)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.fault.is_some() {
            return;
        }
        Self::of_driver(world, actions);
        actions.extend(world.line.traffic(world).into_iter().map(Action::Line));
        let picks = Self::picks(world);
        actions.extend(picks.iter().map(|picks| Action::Serve(*picks)));
        if world.device.next_deadline_ns().is_some() {
            let mut then = world.clone();
            pass_time(&mut then);
            let picks = Self::picks(&then);
            actions.extend(picks.iter().map(|picks| Action::Time(*picks)));
        }
        if world.device.resize_under_way().is_some() {
            actions.push(Action::Cancel);
        }
        let taken = bits(world.driver.held().iter()) & !world.ledger.guest;
        if world.doubt.is_none() && taken != 0 && world.left.doubts > 0 {
            actions.push(Action::Doubt);
        }
        Self::resizes(world, actions);
        Self::mishaps(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.steps.fetch_add(1, Relaxed);
        let mut next = world.clone();
        checked(&mut next, |next| Self::carry_out(next, &action));
        if let Some(outcome) = next.device.take_outcome() {
            let mut ends = self.ends.lock().expect("no thread panics");
            ends.insert(match outcome.end {
                End::Complete => "complete",
                End::Partial(shortfall) => shortfall.label(),
            });
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no rule is broken", |_: &Self, world: &World| {
                world.fault.is_none()
            }),
            Property::always(
                "a good line leads to a quiet point",
                |protocol: &Self, world: &World| {
                    world.fault.is_some() || protocol.calms_down(world).is_ok()
                },
            ),
        ]
    }
}
