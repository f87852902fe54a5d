//! A pattern that may move to other blocks at some moment.

use core::fmt;
use core::str::FromStr;

use super::{FilesError, NotAPattern, Pattern, PatternError, Stream};

/// From an access on, every block number is another: the working set moves as
/// a whole, and what was learned of it before is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseChange {
    /// Number of the first access after the change.
    pub at: u64,
    /// Blocks by which accesses move on from then on, around the device.
    pub offset: u32,
}

/// A pattern, and perhaps a change of phase.
///
/// ```text
/// workload = pattern [ "+" offset "@" at ]
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Where accesses go.
    pub pattern: Pattern,
    /// When that changes.
    pub phase: Option<PhaseChange>,
}

impl From<Pattern> for Workload {
    fn from(pattern: Pattern) -> Self {
        Self {
            pattern,
            phase: None,
        }
    }
}

impl Workload {
    /// The sequence for a device of `capacity` blocks, from access `start` on.
    ///
    /// Streams of one seed draw the same numbers wherever they start: give each
    /// use of a workload a seed of its own.
    pub fn stream(&self, capacity: u32, seed: u64, start: u64) -> Result<Stream, PatternError> {
        if self.phase.is_some() && matches!(self.pattern, Pattern::Files { .. }) {
            return Err(PatternError::Files(FilesError::Phase));
        }
        Ok(Stream {
            family: self.pattern.family(capacity, seed, start)?,
            capacity,
            at: start,
            phase: self.phase,
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pattern.fmt(f)?;
        match self.phase {
            None => Ok(()),
            Some(PhaseChange { at, offset }) => write!(f, "+{offset}@{at}"),
        }
    }
}

impl FromStr for Workload {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        // A number may have a sign and an exponent: the last plus is ours only
        // if an @ follows.
        let Some((front, at)) = text.rsplit_once('@') else {
            return Ok(text.parse::<Pattern>()?.into());
        };
        let (pattern, offset) = front.rsplit_once('+').ok_or(NotAPattern)?;
        Ok(Self {
            pattern: pattern.parse()?,
            phase: Some(PhaseChange {
                at: at.parse().map_err(|_| NotAPattern)?,
                offset: offset.parse().map_err(|_| NotAPattern)?,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn accesses_move_from_the_change_on() {
        let workload: Workload = "sequential+30@5".parse().unwrap();
        let mut stream = workload.stream(100, 1, 0).unwrap();
        let blocks: alloc::vec::Vec<u32> = (0..8).map(|_| stream.next_block()).collect();
        assert_eq!(blocks, [0, 1, 2, 3, 4, 35, 36, 37]);
        let mut late = workload.stream(100, 1, 75).unwrap();
        assert_eq!(late.next_block(), 5);
    }

    #[test]
    fn files_have_a_lifetime_or_the_default_and_no_phase() {
        let refused = |text: &str| {
            let workload: Workload = text.parse().unwrap();
            workload.stream(1000, 1, 0).unwrap_err()
        };
        let error = refused("files:0.5+3@7");
        assert_eq!(error, PatternError::Files(FilesError::Phase));
        assert_eq!(
            refused("files:2,300"),
            PatternError::Files(FilesError::Share(2.0))
        );
        let texts = ["files:0.5", "files:0.5,300"];
        let written = texts.map(|text| text.parse::<Workload>().unwrap().to_string());
        assert_eq!(written, texts);
    }

    #[test]
    fn text_that_is_none_is_refused() {
        for text in [
            "",
            "gauss",
            "zipf",
            "zipf:x",
            "hotspot:1,2",
            "hotspot:1,2,3,4",
            "files",
            "files:x",
            "files:0.5,",
            "files:0.5,2,3",
            "uniform@3",
            "uniform+3@",
            "uniform+@3",
            "uniform+-1@3",
        ] {
            assert!(text.parse::<Workload>().is_err(), "{text}");
        }
    }
}
