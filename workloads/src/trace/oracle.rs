//! oracleGeneral: libCacheSim's binary format of cache traces.
//!
//! Little-endian records of 24 bytes without padding or header. Offsets in
//! bytes:
//!
//! ```text
//!   0 u32 time, seconds
//!   4 u64 object id
//!  12 u32 object size, bytes
//!  16 i64 the number of the request that next accesses the object, -1 or the
//!         largest value for never (not used here)
//! ```
//!
//! Nothing tells reads from writes; all count as reads. Nothing in the content
//! identifies the format either, so it must be named, by the caller or by the
//! name of the file.
//!
//! What an id is, the format leaves open. [`Ids`] says how it is taken:
//!
//! - As the name of an object, which is what libCacheSim does, and what holds for any
//!   trace. An object is one block, whatever its size: a cache of equal blocks that
//!   evicts them one by one has no objects of several, and so its misses are those of
//!   libCacheSim when it ignores sizes (`ignore_obj_size`), which then counts its capacity
//!   in objects. Requests of size 0 are none, there and here.
//! - As an address, which holds where the trace was made of a block trace. An object is
//!   then a range of a disk. Ranges of different ids that overlap show that the ids
//!   are none, or that the unit is another, and are refused unless they may: requests of
//!   a block trace do overlap.
//!
//! Either way ids are kept, up to [`OBJECTS_MAX`] of them.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;
use std::collections::{BTreeMap, HashMap};
use std::string::String;

use super::record::BLOCK_BYTES;
use super::{Op, Problem, Record};

pub(super) const RECORD_BYTES: usize = 24;

/// The most different objects: about 1 GiB of memory for them.
pub const OBJECTS_MAX: usize = 1 << 25;

/// What the ids of objects are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// Names: an object is one block, which has the next free number when it is first
    /// asked for.
    #[default]
    Objects,
    /// Addresses in units of a number of bytes: an object is a range of a disk.
    Addresses {
        /// Bytes in a unit.
        unit_bytes: NonZeroU64,
        /// What to do when ranges of different ids overlap.
        overlap: Overlap,
    },
}

impl Ids {
    /// The unit in which libCacheSim's own conversions of block traces count addresses.
    pub const UNIT_BYTES: NonZeroU64 = NonZeroU64::new(512).expect("more than 0");
}

/// What to do with objects whose ranges overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Refuse the trace.
    #[default]
    Reject,
    /// Take them as requests for the same bytes.
    Allow,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reject => "refuse",
            Self::Allow => "allow",
        })
    }
}

impl FromStr for Overlap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Reject),
            "allow" => Ok(Self::Allow),
            _ => Err(std::format!(
                "invalid value `{text}`; expected refuse or allow"
            )),
        }
    }
}

/// Decodes records, and remembers the objects of earlier ones.
pub(super) struct Oracle {
    ids: Ids,
    objects_max: usize,
    // The number of each object's block.
    numbers: HashMap<u64, u32>,
    // Where each object begins and ends, bytes.
    ranges: BTreeMap<u64, u64>,
    larger: u64,
}

impl Oracle {
    pub(super) fn new(ids: Ids) -> Self {
        Self {
            ids,
            objects_max: OBJECTS_MAX,
            numbers: HashMap::new(),
            ranges: BTreeMap::new(),
            larger: 0,
        }
    }

    pub(super) fn ids(&self) -> Ids {
        self.ids
    }

    /// Requests so far of objects larger than the block that they were taken for.
    pub(super) fn larger(&self) -> u64 {
        self.larger
    }

    pub(super) fn decode(&mut self, record: &[u8; RECORD_BYTES]) -> Result<Record, Problem> {
        let [t0, t1, t2, t3, rest @ ..] = *record;
        let [i0, i1, i2, i3, i4, i5, i6, i7, s0, s1, s2, s3, ..] = rest;
        let time_s = u32::from_le_bytes([t0, t1, t2, t3]);
        let id = u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]);
        let size_bytes = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        let time_ns = u64::from(time_s) * 1_000_000_000;
        if size_bytes == 0 {
            return Record::new(time_ns, Op::Read, 0, 0);
        }
        match self.ids {
            Ids::Objects => {
                self.larger += u64::from(size_bytes > BLOCK_BYTES);
                let place = u64::from(self.number(id)?) * BLOCK_BYTES;
                Record::new(time_ns, Op::Read, place, BLOCK_BYTES)
            }
            Ids::Addresses {
                unit_bytes,
                overlap,
            } => {
                let place = id
                    .checked_mul(unit_bytes.get())
                    .ok_or(Problem::Overflow("the object id, taken as an address,"))?;
                let record = Record::new(time_ns, Op::Read, place, size_bytes)?;
                if overlap == Overlap::Reject {
                    self.claim(place, record.end_bytes(), unit_bytes)?;
                }
                Ok(record)
            }
        }
    }

    /// The block of an object.
    fn number(&mut self, id: u64) -> Result<u32, Problem> {
        let next = self.numbers.len();
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        if next == self.objects_max {
            return Err(Problem::TooManyObjects(next));
        }
        // The bound is far below 32 bits.
        self.numbers.insert(id, next as u32);
        Ok(next as u32)
    }

    /// Notes the range of an object, which may grow, and refuses one that reaches into
    /// another's. Those noted do not overlap, so only the neighbours can.
    fn claim(&mut self, start: u64, end: u64, unit: NonZeroU64) -> Result<(), Problem> {
        let overlap = |first: u64, first_end: u64, second: u64| Problem::Overlap {
            first: first / unit,
            first_end_bytes: first_end,
            second: second / unit,
            second_begin_bytes: second,
        };
        if let Some((before, before_end)) = self.ranges.range(..start).next_back()
            && *before_end > start
        {
            return Err(overlap(*before, *before_end, start));
        }
        if let Some((after, _)) = self.ranges.range(start + 1..).next()
            && *after < end
        {
            return Err(overlap(start, end, *after));
        }
        let known = self.ranges.len();
        match self.ranges.get_mut(&start) {
            Some(noted) => *noted = end.max(*noted),
            None if known == self.objects_max => return Err(Problem::TooManyObjects(known)),
            None => {
                self.ranges.insert(start, end);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(id: u64, size: u32) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[4..12].copy_from_slice(&id.to_le_bytes());
        bytes[12..16].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn addresses(overlap: Overlap) -> Oracle {
        Oracle::new(Ids::Addresses {
            unit_bytes: Ids::UNIT_BYTES,
            overlap,
        })
    }

    #[test]
    fn objects_past_the_bound_are_refused_and_those_before_are_not() {
        for ids in [Ids::Objects, addresses(Overlap::Reject).ids] {
            let mut oracle = Oracle::new(ids);
            oracle.objects_max = 2;
            for id in [9, 7, 9, 7] {
                oracle.decode(&bytes(id, 1)).unwrap();
            }
            let refused = oracle.decode(&bytes(8, 1));
            assert!(matches!(refused, Err(Problem::TooManyObjects(2))));
            assert!(oracle.decode(&bytes(9, 1)).is_ok());
        }
        // What may overlap is not kept.
        let mut oracle = addresses(Overlap::Allow);
        oracle.objects_max = 0;
        assert!(oracle.decode(&bytes(9, 1)).is_ok());
    }

    proptest! {
        #[test]
        fn an_overlap_is_one_of_bytes(requests in prop::collection::vec((0u64..12, 1u32..2000), 1..20)) {
            let mut oracle = addresses(Overlap::Reject);
            // Which object has each byte, as one would write it down.
            let mut owners = [None; 12 * 512 + 2000];
            for (id, size) in requests {
                let range = (id * 512) as usize..(id * 512) as usize + size as usize;
                let free = owners[range.clone()].iter().all(|owner| owner.is_none_or(|owner| owner == id));
                let taken = oracle.decode(&bytes(id, size));
                prop_assert_eq!(taken.is_ok(), free, "{} of {}", id, size);
                if let Err(problem) = taken {
                    let Problem::Overlap { first, first_end_bytes, second, second_begin_bytes } = problem else {
                        panic!("{problem}");
                    };
                    prop_assert!(first < second && [first, second].contains(&id));
                    prop_assert!(second_begin_bytes < first_end_bytes && second_begin_bytes == second * 512);
                    break;
                }
                owners[range].fill(Some(id));
            }
        }
    }
}
