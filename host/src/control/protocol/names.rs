//! Values of the protocol that have names, on the command line too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::VariantNames;
use vssd::wire::Encoding;
use workloads::HostPick;
use workloads::pick::invalid;

/// How block sets travel, by name.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = String,
    parse_err_fn = unknown_encoding
)]
pub enum EncodingName {
    /// Extents or bitmap windows, whichever is smaller.
    Compact,
    /// The exchange of the 2017 system.
    #[serde(rename = "list-4096")]
    #[value(name = "list-4096")]
    #[strum(serialize = "list-4096")]
    List4096,
}

fn unknown_encoding(text: &str) -> String {
    invalid(text, EncodingName::VARIANTS.iter())
}

impl From<EncodingName> for Encoding {
    fn from(name: EncodingName) -> Self {
        match name {
            EncodingName::Compact => Self::Compact,
            EncodingName::List4096 => Self::List4096,
        }
    }
}

impl From<Encoding> for EncodingName {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Compact => Self::Compact,
            Encoding::List4096 => Self::List4096,
        }
    }
}

/// What is tracked of the requests to a vSSD: what a pick needs, under the name of the pick, or
/// `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TrackerName(pub Option<HostPick>);

impl TrackerName {
    /// All of them, `none` first.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self(None)).chain(HostPick::tracked().map(|pick| Self(Some(pick))))
    }

    /// The name, as in [`FromStr`] and [`Display`](fmt::Display).
    pub fn name(self) -> &'static str {
        self.0.map_or("none", Into::into)
    }

    /// What is tracked, for a help text.
    pub fn about(self) -> &'static str {
        self.0.map_or("nothing", HostPick::knows)
    }
}

impl fmt::Display for TrackerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TrackerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::all().find(|tracker| tracker.name() == text);
        named.ok_or_else(|| invalid(text, Self::all()))
    }
}

impl TryFrom<String> for TrackerName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TrackerName> for String {
    fn from(tracker: TrackerName) -> Self {
        tracker.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for tracker in TrackerName::all() {
            assert_eq!(tracker.to_string().parse(), Ok(tracker));
            let json = serde_json::to_string(&tracker).unwrap();
            assert_eq!(json, format!("\"{tracker}\""));
            assert_eq!(serde_json::from_str::<TrackerName>(&json).unwrap(), tracker);
        }
        for encoding in [EncodingName::Compact, EncodingName::List4096] {
            assert_eq!(encoding.to_string().parse(), Ok(encoding));
            let json = serde_json::to_string(&encoding).unwrap();
            assert_eq!(json, format!("\"{encoding}\""));
        }
    }

    #[test]
    fn an_unknown_tracker_is_answered_with_the_names() {
        assert_eq!(
            "uniform".parse::<TrackerName>().unwrap_err(),
            "invalid value `uniform`; expected none, lru, clock, fifo, sieve, s3-fifo, lfu, 2q, arc, \
             w-tiny-lfu, lirs"
        );
    }
}
