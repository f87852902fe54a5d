//! Where a written block goes, and when it reaches the origin disk: the write policies, one a
//! file. Each says what is decided when a write arrives, and how it is carried out.
//!
//! | policy | a write is done when it is on | what a crash of the guest loses |
//! |---|---|---|
//! | write-through, write-around, read-only | the origin | nothing |
//! | write-back | the vSSD | what was not flushed; losing the vSSD breaks the origin |
//! | ordered | the vSSD | what was not flushed; the origin alone is of one moment |
//! | journaled | the vSSD | the same, of the end of a group |

mod journaled;
mod ordered;
mod read_only;
mod write_around;
mod write_back;
mod write_through;

use core::fmt;
use core::str::FromStr;

/// Where a written block goes, and when it reaches the origin disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WritePolicy {
    /// To both disks; done when both are.
    WriteThrough,
    /// To the origin disk, and to the vSSD if the block is cached already.
    WriteAround,
    /// To the origin disk; what is cached of the block is forgotten.
    ReadOnly,
    /// To the vSSD; to the origin disk later, in any order.
    WriteBack,
    /// To the vSSD; to the origin disk later, in the order of the writes.
    Ordered,
    /// To the vSSD; to the origin disk later, by groups that take effect at once.
    Journaled,
}

impl WritePolicy {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::WriteThrough,
        Self::WriteAround,
        Self::ReadOnly,
        Self::WriteBack,
        Self::Ordered,
        Self::Journaled,
    ];

    /// The name, as in [`FromStr`] and [`Display`](fmt::Display).
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteThrough => "write-through",
            Self::WriteAround => "write-around",
            Self::ReadOnly => "read-only",
            Self::WriteBack => "write-back",
            Self::Ordered => "ordered",
            Self::Journaled => "journaled",
        }
    }

    /// Whether a write is done before the origin disk has it.
    pub const fn keeps_dirty(self) -> bool {
        matches!(self, Self::WriteBack | Self::Ordered | Self::Journaled)
    }
}

impl fmt::Display for WritePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An unknown write policy name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWritePolicy;

impl fmt::Display for UnknownWritePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown write policy; expected one of:")?;
        WritePolicy::ALL
            .iter()
            .try_for_each(|policy| write!(f, " {policy}"))
    }
}

impl core::error::Error for UnknownWritePolicy {}

impl FromStr for WritePolicy {
    type Err = UnknownWritePolicy;

    fn from_str(name: &str) -> Result<Self, UnknownWritePolicy> {
        let named = Self::ALL.iter().find(|policy| policy.name() == name);
        named.copied().ok_or(UnknownWritePolicy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_read_as_they_are_written() {
        for &policy in WritePolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("write-down".parse::<WritePolicy>(), Err(UnknownWritePolicy));
        assert!(UnknownWritePolicy.to_string().ends_with("journaled"));
    }
}
