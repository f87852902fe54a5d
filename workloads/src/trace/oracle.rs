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
//! An id says a place when the trace was made of a block trace: the unit is not
//! recorded, so [`super::Options::id_unit_bytes`] gives it, by default the
//! 512-byte sectors that libCacheSim takes over from vSCSI. Ids that are hashes
//! overflow with any unit but 1, and are refused: they are no places on a disk.
//! Nothing tells reads from writes; all count as reads. Nothing in the content
//! identifies the format either, so it must be named, by the caller or by the
//! name of the file.

use super::{Op, Problem, Record};

pub(super) const RECORD_BYTES: usize = 24;

/// Decodes one record, whose ids count units of `id_unit_bytes`.
pub(super) fn decode(record: &[u8], id_unit_bytes: u64) -> Result<Record, Problem> {
    let record: &[u8; RECORD_BYTES] = record.try_into().expect("a whole record");
    let [t0, t1, t2, t3, rest @ ..] = *record;
    let [i0, i1, i2, i3, i4, i5, i6, i7, s0, s1, s2, s3, ..] = rest;
    let time_s = u32::from_le_bytes([t0, t1, t2, t3]);
    let id = u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]);
    let length_bytes = u32::from_le_bytes([s0, s1, s2, s3]);
    let offset_bytes = id
        .checked_mul(id_unit_bytes)
        .ok_or(Problem::Overflow("the object id, taken as a place,"))?;
    let time_ns = u64::from(time_s) * 1_000_000_000;
    Record::new(time_ns, Op::Read, offset_bytes, u64::from(length_bytes))
}
