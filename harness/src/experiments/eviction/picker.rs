//! Who picks the blocks of a shrink: every candidate that the eviction
//! experiment compares, in one list.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A way to pick the blocks to give up, by the side that picks and by what it
/// knows. Names in rows, parameters and on the command line are those of
/// [`name`](Self::name).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Picker {
    /// The guest, by a sample of its workload: blocks that the sample did not
    /// draw go at random, then those drawn least often. The guest of the 2017
    /// defence. Knows a sample of the distribution, none of the accesses.
    GuestSample,
    /// The guest, least recently used first. Knows the last access to each
    /// block. (Denning, "The working set model for program behavior", 1968.)
    GuestLru,
    /// The guest, least frequently used first, with counters of 8 bits that are
    /// halved as time passes. Knows an aged count of accesses to each block.
    /// (Robinson and Devarakonda, "Data cache management using frequency-based
    /// replacement", SIGMETRICS 1990; halving as in TinyLFU, Einziger et al.,
    /// ACM ToS 2017.)
    GuestLfu,
    /// The guest, fewest accesses first. Knows the exact number of all accesses
    /// to each block. The best that a stationary past can tell.
    GuestCounts,
    /// The guest, fewest coming accesses first. Knows the future: the bound
    /// that no picker can beat, since blocks once given up are not fetched again.
    /// (Belady, "A study of replacement algorithms", 1966, for a single choice.)
    GuestOracle,
    /// The hypervisor, uniformly at random. Knows nothing. The hypervisor of
    /// the 2017 defence, and the baseline of every comparison.
    HostUniform,
    /// The hypervisor, least recently used first, by the requests that the
    /// backend serves. Knows the last request to each block.
    HostLru,
    /// The hypervisor, by a hand that sweeps over reference bits which requests
    /// set. Knows one bit for each block. (Corbató, "A paging experiment with
    /// the Multics system", 1968.)
    HostClock,
    /// The hypervisor, highest block numbers first. Knows nothing. What
    /// cutting off the end of a disk does.
    HostSequential,
    /// The hypervisor takes every block and gives as many back as the guest is
    /// to keep, empty: what a cache loses that is discarded on every resize.
    HostDropAll,
}

impl Picker {
    /// All of them, guests first.
    pub const ALL: [Self; 10] = [
        Self::GuestSample,
        Self::GuestLru,
        Self::GuestLfu,
        Self::GuestCounts,
        Self::GuestOracle,
        Self::HostUniform,
        Self::HostLru,
        Self::HostClock,
        Self::HostSequential,
        Self::HostDropAll,
    ];

    /// What all others are compared with.
    pub const BASELINE: Self = Self::HostUniform;

    pub fn name(self) -> &'static str {
        match self {
            Self::GuestSample => "guest-sample",
            Self::GuestLru => "guest-lru",
            Self::GuestLfu => "guest-lfu",
            Self::GuestCounts => "guest-counts",
            Self::GuestOracle => "guest-oracle",
            Self::HostUniform => "host-uniform",
            Self::HostLru => "host-lru",
            Self::HostClock => "host-clock",
            Self::HostSequential => "host-sequential",
            Self::HostDropAll => "host-drop-all",
        }
    }

    /// What it goes by, in a few words, for tables.
    pub fn knows(self) -> &'static str {
        match self {
            Self::GuestSample => "a sample of the workload",
            Self::GuestLru => "the guest's last access to each block",
            Self::GuestLfu => "aged 8-bit counts of the guest's accesses",
            Self::GuestCounts => "exact counts of the guest's accesses",
            Self::GuestOracle => "the accesses to come",
            Self::HostUniform | Self::HostSequential | Self::HostDropAll => "nothing",
            Self::HostLru => "the last request to each block that the backend saw",
            Self::HostClock => "one reference bit for each block, set by requests",
        }
    }

    /// True when the guest picks.
    pub fn is_guest(self) -> bool {
        matches!(
            self,
            Self::GuestSample
                | Self::GuestLru
                | Self::GuestLfu
                | Self::GuestCounts
                | Self::GuestOracle
        )
    }
}

impl fmt::Display for Picker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Picker {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|picker| picker.name() == name)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{name}` is no picker; there are: {names}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_pickers() {
        for picker in Picker::ALL {
            assert_eq!(picker.name().parse(), Ok(picker));
            assert_eq!(picker.is_guest(), picker.name().starts_with("guest-"));
        }
        assert!("guest".parse::<Picker>().unwrap_err().contains("guest-lru"));
    }
}
