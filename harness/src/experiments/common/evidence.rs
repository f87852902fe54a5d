//! Which writes reached a disk, by the contents of its blocks.
//!
//! Writes have numbers, counted from 1 in the order in which they were made, and each
//! block carries the number of the write that it is from. So a reader that knows where each
//! write went can tell from the numbers on a disk which of them are missing, and
//! whether the disk is as it was after one of them, with nothing of a later one:
//!
//! ```text
//!  write    1  2  3  4  5  6        block   number   next write to it
//!  block    A  B  A  C  B  A          A        3            6
//!                                     B        2            5
//!           a prefix of four          C        4            -
//!           writes: 4 < 5
//! ```
//!
//! A disk is a prefix of the writes exactly if the newest number on it is smaller than
//! that of any write which came after the one that a block is from, and went there.

/// The number of a block that carries no stamp of its place.
pub(crate) const BAD: u64 = u64::MAX;

/// The number of a block whose last write was lost.
pub(crate) const LOST: u64 = u64::MAX - 1;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Blocks with anything but what one write to them left.
    pub bad_blocks: u32,
    /// Blocks that were refused.
    pub lost_blocks: u32,
    /// The newest number.
    pub newest: u64,
    /// Acknowledged writes that were not found, nor a newer one to their block.
    pub missing: u64,
    /// Of these, flushed ones.
    pub missing_flushed: u64,
    /// Blocks older than what was acknowledged.
    pub stale_blocks: u32,
    /// Whether nothing of a write is there without all writes before it.
    pub is_prefix: bool,
}

/// Where the writes went, and which of them the guest is known to have got how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writes<'a> {
    /// The block of each write; that of write 1 comes first. There are more than the
    /// guest can have made.
    pub blocks: &'a [u32],
    /// The last one acknowledged, with all before.
    pub acknowledged: u64,
    /// The last one flushed, with all before.
    pub flushed: u64,
}

/// Looks at the number of each block, from block 0 on.
pub(crate) fn examine(writes: Writes<'_>, numbers: &[u64]) -> Evidence {
    let went_to = |number: u64| {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        writes.blocks.get(at).copied()
    };
    let mut evidence = Evidence::default();
    // What each block is from; of one that is bad or lost, no write.
    let mut from = vec![0; numbers.len()];
    for ((block, number), from) in (0..).zip(numbers).zip(&mut from) {
        match *number {
            LOST => evidence.lost_blocks += 1,
            0 => {}
            number if went_to(number) == Some(block) => {
                *from = number;
                evidence.newest = evidence.newest.max(number);
            }
            _ => evidence.bad_blocks += 1,
        }
    }
    let mut soonest_after = u64::MAX;
    let mut stale = vec![false; numbers.len()];
    for (number, block) in (1..).zip(writes.blocks) {
        let at = *block as usize;
        if from.get(at).is_some_and(|from| *from >= number) {
            continue;
        }
        soonest_after = soonest_after.min(number);
        if number <= writes.acknowledged {
            evidence.missing += 1;
            evidence.missing_flushed += u64::from(number <= writes.flushed);
            if let Some(stale) = stale.get_mut(at) {
                *stale = true;
            }
        }
    }
    evidence.stale_blocks = stale.iter().filter(|stale| **stale).count() as u32;
    let sound = evidence.bad_blocks == 0 && evidence.lost_blocks == 0;
    evidence.is_prefix = sound && evidence.newest < soonest_after;
    evidence
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A, B, A, C, B, A.
    const BLOCKS: [u32; 6] = [0, 1, 0, 2, 1, 0];

    fn look(acknowledged: u64, flushed: u64, numbers: &[u64]) -> Evidence {
        let writes = Writes {
            blocks: &BLOCKS,
            acknowledged,
            flushed,
        };
        examine(writes, numbers)
    }

    #[test]
    fn a_disk_behind_is_a_prefix_and_misses_what_came_later() {
        let found = look(6, 5, &[3, 2, 4]);
        assert!(found.is_prefix);
        assert_eq!(
            (found.newest, found.missing, found.missing_flushed),
            (4, 2, 1)
        );
        assert_eq!(found.stale_blocks, 2);
        // Nothing at all is a prefix of no write.
        assert!(look(6, 0, &[0, 0, 0]).is_prefix);
        assert_eq!(look(6, 0, &[0, 0, 0]).missing, 6);
        let found = look(6, 6, &[6, 5, 4]);
        assert_eq!((found.missing, found.stale_blocks), (0, 0));
        assert!(found.is_prefix);
    }

    #[test]
    fn a_write_without_one_before_it_is_no_prefix() {
        // Write 6 to A is there, write 5 to B is not.
        let found = look(4, 4, &[6, 2, 4]);
        assert!(!found.is_prefix);
        // But nothing that was acknowledged is missing.
        assert_eq!(found.missing, 0);
        assert!(!look(6, 0, &[0, 2, 0]).is_prefix);
    }

    #[test]
    fn what_one_write_cannot_have_left_is_bad() {
        for (numbers, bad, lost) in [
            ([BAD, 2, 4], 1, 0),
            ([LOST, 2, 4], 0, 1),
            // Write 2 went to B, and there is no write 7.
            ([2, 7, 4], 2, 0),
        ] {
            let found = look(4, 4, &numbers);
            assert_eq!((found.bad_blocks, found.lost_blocks), (bad, lost));
            assert!(!found.is_prefix && found.missing > 0, "{numbers:?}");
        }
    }

    /// Against disks on which the first so many writes were made, or any others.
    #[test]
    fn prefixes_are_those_that_the_first_writes_leave() {
        for seed in 0..2000 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let count = rng.random_range(1..20);
            let blocks: Vec<u32> = (0..count).map(|_| rng.random_range(0..5)).collect();
            let made: Vec<bool> = (0..count).map(|_| rng.random_bool(0.7)).collect();
            let state = |is_made: &dyn Fn(usize) -> bool| {
                let mut disk = [0u64; 5];
                for (at, block) in blocks.iter().enumerate().filter(|(at, _)| is_made(*at)) {
                    disk[*block as usize] = at as u64 + 1;
                }
                disk
            };
            let prefixes: Vec<_> = (0..=count).map(|end| state(&|at| at < end)).collect();
            let writes = Writes {
                blocks: &blocks,
                acknowledged: count as u64,
                flushed: 0,
            };
            let any = state(&|at| made[at]);
            let found = examine(writes, &any);
            assert_eq!(found.is_prefix, prefixes.contains(&any), "seed {seed}");
            assert!(
                prefixes
                    .iter()
                    .all(|prefix| examine(writes, prefix).is_prefix)
            );
            // A write is there if its block has it or a newer one.
            let is_missing = |(number, block): &(u64, &u32)| any[**block as usize] < *number;
            let missing = (1..).zip(&blocks).filter(is_missing).count();
            assert_eq!(found.missing, missing as u64, "seed {seed}");
        }
    }
}
