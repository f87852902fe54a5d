//! The part of a sweep that one machine runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Shard `i` of `n`, from 1: every n-th cell. Neighbouring cells go to different shards, so that a
/// slow region of the sweep is distributed as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// The whole sweep.
    pub(crate) const WHOLE: Self = Self { index: 1, of: 1 };

    /// Number of this shard, from 1.
    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// Number of shards.
    pub(crate) fn of(self) -> u32 {
        self.of
    }

    /// Whether the cell is in this shard.
    pub(crate) fn has(self, cell: u32) -> bool {
        cell % self.of == self.index - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (index, of) = text.split_once('/')?;
            let shard = Self {
                index: index.parse().ok()?,
                of: of.parse().ok()?,
            };
            (1..=shard.of).contains(&shard.index).then_some(shard)
        };
        parsed().ok_or_else(|| {
            format!("invalid shard `{text}`; expected I/N with I from 1 to N, e.g. 2/8")
        })
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_in_exactly_one_shard() {
        for of in 1..=20 {
            let shards: Vec<Shard> = (1..=of)
                .map(|index| format!("{index}/{of}").parse().unwrap())
                .collect();
            for cell in (0..200).chain([u32::MAX - 1, u32::MAX]) {
                let holders = shards.iter().filter(|shard| shard.has(cell)).count();
                assert_eq!(holders, 1, "cell {cell} of {of} shards");
            }
        }
    }

    #[test]
    fn sizes_of_shards_differ_by_at_most_one() {
        for of in 1..=20u32 {
            let sizes: Vec<usize> = (1..=of)
                .map(|index| Shard { index, of })
                .map(|shard| (0..123).filter(|cell| shard.has(*cell)).count())
                .collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn invalid_shards_are_rejected() {
        assert_eq!("1/1".parse(), Ok(Shard::WHOLE));
        for text in [
            "",
            "1",
            "0/2",
            "3/2",
            "1/0",
            "a/b",
            "1/2/3",
            "-1/2",
            "1/99999999999",
        ] {
            let error = text.parse::<Shard>().unwrap_err();
            assert!(error.contains("I/N"), "{text}: {error}");
        }
    }
}
