//! Requests that a disk has no room for.

use core::fmt;
use core::str::FromStr;
use std::string::String;

/// What to do with a request that ends past the end of the disk. To wrap it
/// round was rejected: that makes one block of several, and so changes what a
/// cache would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// Refuse the trace.
    #[default]
    Reject,
    /// Leave the whole request out, and count it.
    Skip,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reject => "refuse",
            Self::Skip => "skip",
        })
    }
}

impl FromStr for Beyond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Reject),
            "skip" => Ok(Self::Skip),
            _ => Err(std::format!(
                "invalid value `{text}`; expected refuse or skip"
            )),
        }
    }
}
