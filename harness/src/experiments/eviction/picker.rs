//! The pickers that the eviction experiment compares, in one list.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use workloads::pick::{first_sentence, invalid};
use workloads::{GuestPick, HostPick};

/// Which side picks the blocks to give up, and by what. Names in rows, parameters and on the
/// command line are those of [`Display`](fmt::Display).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Picker {
    /// The guest.
    Guest(GuestPick),
    /// The guest by [`GuestPick::Sample`], with the accesses to come for hints: the bound that
    /// no picker can beat, since blocks once given up are not fetched again. (Belady, "A study
    /// of replacement algorithms", 1966, for a single choice.)
    GuestOracle,
    /// The hypervisor.
    Host(HostPick),
    /// The hypervisor by [`HostPick::Uniform`], every block; as many as the guest is to keep
    /// come back empty. A cache that is discarded on every resize loses as much.
    HostDropAll,
}

impl Picker {
    /// All of them, guests first.
    pub const ALL: [Self; 18] = [
        Self::Guest(GuestPick::Sample),
        Self::Guest(GuestPick::Lru),
        Self::Guest(GuestPick::Lfu),
        Self::Guest(GuestPick::Counts),
        Self::GuestOracle,
        Self::Host(HostPick::Uniform),
        Self::Host(HostPick::Lru),
        Self::Host(HostPick::Clock),
        Self::Host(HostPick::Fifo),
        Self::Host(HostPick::Sieve),
        Self::Host(HostPick::S3Fifo),
        Self::Host(HostPick::Lfu),
        Self::Host(HostPick::TwoQ),
        Self::Host(HostPick::Arc),
        Self::Host(HostPick::WTinyLfu),
        Self::Host(HostPick::Lirs),
        Self::Host(HostPick::Sequential),
        Self::HostDropAll,
    ];

    /// What all others are compared with.
    pub const BASELINE: Self = Self::Host(HostPick::Uniform);

    /// What it goes by, in a few words, for tables.
    pub fn knows(self) -> &'static str {
        match self {
            Self::Guest(pick) => pick.knows(),
            Self::GuestOracle => "the accesses to come",
            Self::Host(pick) => pick.knows(),
            Self::HostDropAll => "nothing",
        }
    }

    /// True when the guest picks.
    pub fn is_guest(self) -> bool {
        matches!(self, Self::Guest(_) | Self::GuestOracle)
    }

    /// A sentence on it, for the column reference.
    fn about(self) -> &'static str {
        match self {
            Self::Guest(pick) => first_sentence(&pick),
            Self::GuestOracle => "The guest picks the blocks with the fewest coming accesses",
            Self::Host(pick) => first_sentence(&pick),
            Self::HostDropAll => {
                "The hypervisor takes every block and gives as many back as the guest is to keep, \
                 empty: what a cache loses that is discarded on every resize"
            }
        }
    }
}

impl fmt::Display for Picker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Guest(pick) => format!("guest-{pick}"),
            Self::GuestOracle => "guest-oracle".to_owned(),
            Self::Host(pick) => format!("host-{pick}"),
            Self::HostDropAll => "host-drop-all".to_owned(),
        })
    }
}

impl FromStr for Picker {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|picker| picker.to_string() == name)
            .ok_or_else(|| invalid(name, Self::ALL.iter()))
    }
}

impl TryFrom<String> for Picker {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Picker> for String {
    fn from(picker: Picker) -> Self {
        picker.to_string()
    }
}

impl JsonSchema for Picker {
    fn schema_name() -> Cow<'static, str> {
        "Picker".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = |of: Self| json!({ "const": of.to_string(), "description": of.about() });
        json_schema!({ "oneOf": Self::ALL.map(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_pickers() {
        for picker in Picker::ALL {
            let name = picker.to_string();
            assert_eq!(name.parse(), Ok(picker));
            assert_eq!(picker.is_guest(), name.starts_with("guest-"));
        }
        assert!(Picker::ALL.is_sorted());
        assert!("guest".parse::<Picker>().unwrap_err().contains("guest-lru"));
    }
}
