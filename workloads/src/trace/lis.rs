//! lis: the text format of the traces of the ARC cache (Megiddo and Modha, "ARC: A
//! Self-Tuning, Low Overhead Replacement Cache", FAST'03).
//!
//! One request a line, exactly four decimal numbers with blanks or tabs between them,
//! `first block, number of blocks, 0, request number`:
//!
//! - The first block and the number of blocks count units of 512 bytes.
//! - The third and the fourth number are not used. They may be any, as published traces
//!   skip request numbers.
//!
//! ```text
//! 230027 8 0 0
//! 1842745 64 0 1
//! ```
//!
//! There are no times: all are 0. Nothing tells reads from writes: all count as reads.

use super::record::SECTOR_BYTES;
use super::text::Fields;
use super::{Op, Problem, Record};

pub(super) fn decode(line: &[u8]) -> Result<Record, Problem> {
    let mut fields = Fields::between_blanks(line);
    let offset_bytes = fields.need("first block")?.whole(SECTOR_BYTES)?;
    let length_bytes = fields.need("number of blocks")?.whole(SECTOR_BYTES)?;
    fields.need("third number")?.whole(1)?;
    fields.need("request number")?.whole(1)?;
    fields.end("fifth field")?;
    Record::new(0, Op::Read, offset_bytes, length_bytes)
}

/// Why a line is not of this format.
pub(super) fn oddity(line: &[u8]) -> Option<Problem> {
    decode(line).err()
}
