//! What the device advises a cache on the vSSD, so that the SSD below it wears less (SPEC.md,
//! section 6.11).

use core::fmt;

/// Which blocks a cache should keep off the vSSD. By default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
