//! What the device advises a cache on the vSSD, so that the SSD below it wears less (SPEC.md,
//! section 6.11).

use core::fmt;

use crate::wire::{GOAL_ADMIT_REUSED, GOAL_BYPASS_WRITES};

/// Which blocks a cache should keep off the vSSD. By default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// A written block goes to its origin disk alone.
    pub bypass_writes: bool,
    /// A block comes in only when it has missed before, not long ago.
    pub admit_reused: bool,
}

impl Advice {
    /// No advice.
    pub const NONE: Self = Self {
        bypass_writes: false,
        admit_reused: false,
    };

    /// As flags of a goal.
    pub(crate) fn flags(self) -> u32 {
        let bypass = if self.bypass_writes {
            GOAL_BYPASS_WRITES
        } else {
            0
        };
        let reused = if self.admit_reused {
            GOAL_ADMIT_REUSED
        } else {
            0
        };
        bypass | reused
    }

    /// The advice in the flags of a goal.
    pub(crate) fn of_flags(flags: u32) -> Self {
        Self {
            bypass_writes: flags & GOAL_BYPASS_WRITES != 0,
            admit_reused: flags & GOAL_ADMIT_REUSED != 0,
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.bypass_writes, self.admit_reused) {
            (false, false) => "none",
            (true, false) => "bypass writes",
            (false, true) => "admit reused blocks only",
            (true, true) => "bypass writes, admit reused blocks only",
        })
    }
}
