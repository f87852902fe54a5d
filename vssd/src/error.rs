//! Why the device rejects a command. A driver is untrusted: its faults are values that
//! are answered and counted, never panics.

use core::fmt;

macro_rules! rejects {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $label:literal;)+) => {
        /// A refusal. Nothing changed on the device.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reject {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reject {
            /// Every reason, in the order of its number on the wire.
            pub const ALL: &'static [Reject] = &[$(Reject::$name,)+];

            /// The number of this reason in a response's status field.
            pub fn code(self) -> u16 {
                match self { $(Self::$name => $code,)+ }
            }

            /// The reason with this number.
            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }

            /// The label of the reason, for counters and CSV columns.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

rejects! {
    /// The message does not have the layout of its kind.
    Malformed = 1, "malformed";
    /// The opcode, request type or version is not one that the device knows.
    Unsupported = 2, "unsupported";
    /// The command names a session that the device is not in.
    StaleSession = 3, "stale-session";
    /// The command is neither the next of its session nor the last one again.
    BadSequence = 4, "bad-sequence";
    /// A block or sector lies beyond the device.
    OutOfRange = 5, "out-of-range";
    /// Blocks are not in strictly ascending order, so one may be named twice.
    Unordered = 6, "unordered";
    /// A block is not held by the driver.
    NotHeld = 7, "not-held";
    /// More blocks are surrendered than the device requested.
    TooMany = 8, "too-many";
    /// The driver's list differs from the device's.
    Mismatch = 9, "mismatch";
    /// The device could not record the change of ownership.
    Storage = 10, "storage";
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl core::error::Error for Reject {}
