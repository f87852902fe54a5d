//! Who picks the blocks of a shrink, and how.
//!
//! The hypervisor asks for a shrink with a [`Pick`]: the guest picks, or the hypervisor
//! itself by a [`HostPick`]. How the guest picks is its own business; a command of the
//! testbed sets it to a [`GuestPick`]. The names here are those of commands, parameters,
//! rows and the control protocol.
//!
//! What a cache evicts when it is full is another question. Its policies (`guest_cache::Policy`)
//! are also ways for the hypervisor to pick, under the same names.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoEnumIterator};

/// How the guest picks blocks when it is asked to surrender some.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumIter,
    strum::EnumMessage,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = String,
    parse_err_fn = unknown::<Self>
)]
pub enum GuestPick {
    /// The guest picks by hints: blocks that they did not name, at random, then those named
    /// least often. With a sample of the workload for hints, this is the guest of the 2017
    /// defence; with the accesses to come, nothing is better.
    Sample,
    /// The guest picks the least recently used blocks. (Denning, "The working set model for
    /// program behavior", 1968.)
    Lru,
    /// The guest picks the least frequently used blocks, by counters of 8 bits that are halved
    /// as time passes. (Robinson and Devarakonda, "Data cache management using
    /// frequency-based replacement", SIGMETRICS 1990; halving as in TinyLFU, Einziger et al.,
    /// ACM ToS 2017.)
    Lfu,
    /// The guest picks the blocks with the fewest accesses. The best that a stationary past
    /// can tell.
    Counts,
    /// The guest picks any held blocks, at random.
    Random,
    /// The guest picks every second held block, then the rest: as scattered as possible.
    Scattered,
    /// The guest picks the highest block numbers: as contiguous as possible.
    Highest,
    /// The guest gives up nothing: it does not cooperate.
    Refuse,
}

impl GuestPick {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }

    /// What it knows of the workload, in a few words.
    pub fn knows(self) -> &'static str {
        match self {
            Self::Sample => "a sample of the workload",
            Self::Lru => "the guest's last access to each block",
            Self::Lfu => "aged 8-bit counts of the guest's accesses",
            Self::Counts => "exact counts of the guest's accesses",
            Self::Random | Self::Scattered | Self::Highest | Self::Refuse => "nothing",
        }
    }
}

/// How the hypervisor picks the blocks that it takes. It cannot see what a guest does with
/// a block, only the requests that reach the backend.
///
/// Picks that need a record of the requests take blocks without contents first: those that were
/// discarded or granted, and not requested since.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumIter,
    strum::EnumMessage,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = String,
    parse_err_fn = unknown::<Self>
)]
pub enum HostPick {
    /// The hypervisor picks at random. Each block is equally likely, as in the 2017 defence.
    #[default]
    Uniform,
    /// The hypervisor picks the least recently used blocks. Needs the last request to each
    /// block.
    Lru,
    /// The hypervisor picks by the clock algorithm (second chance). Needs one reference bit
    /// for each block. (Corbató, "A paging experiment with the Multics system", 1968.)
    Clock,
    /// The hypervisor picks what FIFO evicts first: the blocks whose first request is oldest.
    Fifo,
    /// The hypervisor picks what SIEVE evicts first. (Zhang et al., "SIEVE is simpler than LRU",
    /// NSDI 2024.)
    Sieve,
    /// The hypervisor picks what S3-FIFO evicts first. (Yang et al., "FIFO queues are all you need
    /// for cache eviction", SOSP 2023.)
    S3Fifo,
    /// The hypervisor picks what LFU evicts first: the blocks with the fewest requests.
    Lfu,
    /// The hypervisor picks what 2Q evicts first. (Johnson and Shasha, VLDB 1994.)
    #[strum(serialize = "2q")]
    TwoQ,
    /// The hypervisor picks what ARC evicts first. (Megiddo and Modha, FAST 2003.)
    Arc,
    /// The hypervisor picks what W-TinyLFU evicts first. (Einziger et al., ACM ToS 2017.)
    WTinyLfu,
    /// The hypervisor picks what LIRS evicts first. (Jiang and Zhang, SIGMETRICS 2002.)
    Lirs,
    /// The hypervisor picks the highest block numbers. This is what cutting off the end of a
    /// disk does.
    Sequential,
    /// The hypervisor takes exactly the given blocks.
    Given,
}

impl HostPick {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }

    /// Those that need a record of the requests to the vSSD.
    pub fn tracked() -> impl Iterator<Item = Self> {
        Self::iter().filter(|pick| pick.needs_tracker())
    }

    /// True when it needs a record of the requests to the vSSD.
    pub fn needs_tracker(self) -> bool {
        !matches!(self, Self::Uniform | Self::Sequential | Self::Given)
    }

    /// What it knows of the workload, in a few words.
    pub fn knows(self) -> &'static str {
        match self {
            Self::Lru => "the last request to each block that the backend saw",
            Self::Clock => "one reference bit for each block, set by requests",
            Self::Fifo => "the first request to each block that the backend saw",
            Self::Lfu => "exact counts of the requests that the backend saw",
            Self::Sieve | Self::S3Fifo | Self::TwoQ | Self::Arc | Self::WTinyLfu | Self::Lirs => {
                "the requests that the backend saw, as this policy records them"
            }
            Self::Uniform | Self::Sequential | Self::Given => "nothing",
        }
    }
}

/// Who picks the blocks of a shrink, as the hypervisor asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Pick {
    /// The guest picks.
    #[default]
    Guest,
    /// The hypervisor picks.
    Host(HostPick),
}

impl Pick {
    /// All of them, the guest first.
    pub fn all() -> impl Iterator<Item = Self> {
        core::iter::once(Self::Guest).chain(HostPick::all().map(Self::Host))
    }

    /// The name, as in [`FromStr`] and [`Display`](fmt::Display).
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Host(pick) => pick.into(),
        }
    }

    /// How the hypervisor picks, if it does.
    pub fn of_host(self) -> Option<HostPick> {
        match self {
            Self::Guest => None,
            Self::Host(pick) => Some(pick),
        }
    }

    /// A sentence on it, for a help text.
    pub fn about(self) -> &'static str {
        match self {
            Self::Guest => "The guest picks",
            Self::Host(pick) => first_sentence(&pick),
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Pick {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::all()
            .find(|pick| pick.name() == name)
            .ok_or_else(|| invalid(name, Self::all()))
    }
}

impl TryFrom<String> for Pick {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Pick> for String {
    fn from(pick: Pick) -> Self {
        pick.name().to_string()
    }
}

/// The first sentence on a way to pick, without its full stop.
pub fn first_sentence(of: &impl EnumMessage) -> &'static str {
    let text = of.get_documentation().unwrap_or_default();
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

/// Why a text is not the name of a `T`.
fn unknown<T: IntoEnumIterator + fmt::Display>(name: &str) -> String {
    invalid(name, T::iter())
}

/// Why a text is none of the `expected` names.
pub fn invalid(name: &str, expected: impl Iterator<Item = impl fmt::Display>) -> String {
    let names: Vec<_> = expected.map(|of| of.to_string()).collect();
    format!("invalid value `{name}`; expected {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for pick in GuestPick::all() {
            assert_eq!(pick.to_string().parse(), Ok(pick));
        }
        for pick in Pick::all() {
            assert_eq!(pick.to_string().parse(), Ok(pick));
            let json = serde_json::to_string(&pick).unwrap();
            assert_eq!(json, format!("\"{pick}\""));
            assert_eq!(serde_json::from_str::<Pick>(&json).unwrap(), pick);
        }
        assert_eq!(
            "mru".parse::<Pick>().unwrap_err(),
            "invalid value `mru`; expected guest, uniform, lru, clock, fifo, sieve, s3-fifo, lfu, 2q, \
             arc, w-tiny-lfu, lirs, sequential, given"
        );
        assert!("fifo".parse::<GuestPick>().unwrap_err().ends_with("refuse"));
    }

    #[test]
    fn each_has_a_sentence() {
        for pick in Pick::all() {
            let about = pick.about();
            assert!(about.starts_with("The "), "{pick}: {about}");
            assert!(!about.contains(". ") && !about.ends_with('.'), "{pick}");
        }
        for pick in GuestPick::all() {
            assert!(first_sentence(&pick).starts_with("The guest "), "{pick}");
        }
    }
}
