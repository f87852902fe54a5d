//! Which blocks a replay of a workload accesses, and how.
//!
//! Guest and harness both use this, so that the harness can compute where each write of a
//! guest went, and which accesses a cache served.

use rand::RngExt;

pub use crate::access::{Access, AccessKind};
use crate::pattern::{PatternError, Rng, Stream, Workload, derive_seed, rng};

/// The use of randomness that chooses writes.
const FOR_WRITES: u64 = 1;

/// An endless sequence of accesses.
#[derive(Clone, Debug)]
pub struct Replay {
    stream: Stream,
    writes: Rng,
    percent: u32,
}

impl Replay {
    /// The accesses of `workload` to the first `span` blocks of a disk from number `start`
    /// on, `percent` of a hundred of them writes, unless the workload has its own.
    ///
    /// # Errors
    /// When the workload has no such sequence.
    pub fn new(
        workload: Workload,
        span: u32,
        seed: u64,
        start: u64,
        percent: u32,
    ) -> Result<Self, PatternError> {
        Ok(Self {
            stream: workload.stream(span, seed, start)?,
            writes: rng(derive_seed(seed, FOR_WRITES)),
            percent,
        })
    }

    /// The next access.
    pub fn next_access(&mut self) -> Access {
        let (block, kind) = self.stream.next_access();
        let kind = kind.unwrap_or_else(|| {
            if self.writes.random_range(0..100) < self.percent {
                AccessKind::Write
            } else {
                AccessKind::Read
            }
        });
        Access { block, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::DEFAULT_WORKLOAD;

    #[test]
    fn writes_are_as_many_as_asked_for_and_do_not_move_the_blocks() {
        let take = |percent| {
            let mut replay = Replay::new(DEFAULT_WORKLOAD, 65_536, 5, 0, percent).unwrap();
            (0..20_000)
                .map(|_| replay.next_access())
                .collect::<alloc::vec::Vec<_>>()
        };
        let (none, some, all) = (take(0), take(30), take(100));
        let writes = |of: &[Access]| {
            of.iter()
                .filter(|access| access.kind == AccessKind::Write)
                .count()
        };
        assert_eq!((writes(&none), writes(&all)), (0, 20_000));
        assert!((5_700..6_300).contains(&writes(&some)));
        let blocks = |of: &[Access]| of.iter().map(|a| a.block).collect::<alloc::vec::Vec<_>>();
        assert_eq!(blocks(&none), blocks(&some));
        assert_eq!(take(30), some, "a seed gives the same again");
    }
}
