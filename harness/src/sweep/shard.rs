//! Which part of a sweep a machine takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Part `i` of `n`, counted from 1: every n-th cell. Neighbours go to different
/// parts, so that a slow corner of the sweep is shared out as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// Which part, from 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many parts there are.
    pub fn of(self) -> u32 {
        self.of
    }

    /// True when the cell of that number belongs to this part.
    pub fn holds(self, cell: u32) -> bool {
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
            format!("invalid shard `{text}`; expected i/n with i from 1 to n, e.g. 2/8")
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
                let holders = shards.iter().filter(|shard| shard.holds(cell)).count();
                assert_eq!(holders, 1, "cell {cell} of {of} shards");
            }
        }
    }

    #[test]
    fn shards_are_as_even_as_can_be() {
        for of in 1..=20u32 {
            let sizes: Vec<usize> = (1..=of)
                .map(|index| Shard { index, of })
                .map(|shard| (0..123).filter(|cell| shard.holds(*cell)).count())
                .collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn texts_that_are_no_shards_are_refused() {
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
            assert!(error.contains("i/n"), "{text}: {error}");
        }
    }
}
