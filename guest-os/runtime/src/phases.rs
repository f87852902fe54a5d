//! The phases of a measurement, as the guest observes them.
//!
//! ```text
//!            blocks are to go           all moved and confirmed
//!   quiet ───────────────────▶ shrink ──────────────────────────▶ quiet
//!     │                         │  ▲
//!     │   blocks are to come    ▼  │     all moved and confirmed
//!     └───────────────────────▶ grow ───────────────────────────▶ quiet
//! ```
//!
//! A resize lasts until the device knows that the list has followed, so the
//! confirmation belongs to it.

use alloc::vec;
use alloc::vec::Vec;

use vssd::driver::{Driver, Way};
use workloads::report::PhaseKind;

/// The most phases that are recorded, so that a guest which is resized for days does
/// not run out of memory.
pub const MAX_PHASES: usize = 32;

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The direction of the list.
    pub kind: PhaseKind,
    /// When it began, by the machine's clock.
    pub since_ns: u64,
}

/// The phases since a measurement began.
#[derive(Clone, Debug)]
pub struct Phases {
    list: Vec<Phase>,
}

/// The direction of the list, or `None` while a resize waits to be confirmed.
fn kind(driver: &Driver) -> Option<PhaseKind> {
    match driver.wanted() {
        Some(Way::Shrink) => Some(PhaseKind::Shrink),
        Some(Way::Grow) => Some(PhaseKind::Grow),
        None => driver.is_quiet().then_some(PhaseKind::Quiet),
    }
}

impl Phases {
    /// Phases from now on.
    pub fn new(driver: &Driver, now_ns: u64) -> Self {
        Self {
            list: vec![Phase {
                kind: kind(driver).unwrap_or(PhaseKind::Quiet),
                since_ns: now_ns,
            }],
        }
    }

    /// The phases so far, in order; at least one.
    pub fn list(&self) -> &[Phase] {
        &self.list
    }

    /// The place of the phase under way in the list.
    pub fn current(&self) -> usize {
        self.list.len() - 1
    }

    /// Tracks the driver's state; true when a new phase began.
    pub fn track(&mut self, driver: &Driver, now_ns: impl FnOnce() -> u64) -> bool {
        let last = self.list[self.current()].kind;
        let Some(kind) = kind(driver).filter(|kind| *kind != last && last != PhaseKind::Rest)
        else {
            return false;
        };
        let kind = if self.list.len() + 1 < MAX_PHASES {
            kind
        } else {
            PhaseKind::Rest
        };
        self.list.push(Phase {
            kind,
            since_ns: now_ns(),
        });
        true
    }

    /// The phase of a request that was put in `phase` and is in flight during the current one: that
    /// of the first resize during its flight.
    pub fn carry(&self, phase: usize) -> usize {
        match self.list[phase].kind {
            PhaseKind::Quiet => self.current(),
            _ => phase,
        }
    }
}
