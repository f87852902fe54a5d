//! SPC: the Storage Performance Council's trace file format 1.0.1, known from
//! the UMass repository (Financial, WebSearch).
//!
//! One request a line, `asu,lba,size,opcode,timestamp`, and fields after these
//! that are ignored; blanks around fields are allowed, and so is a first line that
//! names the columns:
//!
//! - `asu`: the number of an application storage unit, a volume of its own. The
//!   volumes lie side by side, [`super::Options::volume_bytes`] apart, in the
//!   order of their first requests.
//! - `lba`: the place in the ASU. The specification leaves the size of a block
//!   to the description of the trace; here it is 512 bytes, as in every
//!   published one.
//! - `size`: bytes.
//! - `opcode`: `r` or `w`, of either case.
//! - `timestamp`: decimal seconds since the trace began.
//!
//! ```text
//! 0,20941264,8192,W,0.551706
//! ```

use super::record::SECTOR_BYTES;
use super::text::{Fields, names_columns};
use super::volumes::Volumes;
use super::{Problem, Record};

pub(super) struct Spc {
    volumes: Volumes,
}

impl Spc {
    pub(super) fn new(volume_bytes: u64) -> Self {
        Self {
            volumes: Volumes::new(volume_bytes),
        }
    }

    /// How many units there were so far.
    pub(super) fn volumes(&self) -> usize {
        self.volumes.count()
    }

    pub(super) fn decode(&mut self, line: &[u8]) -> Result<Record, Problem> {
        let mut fields = Fields::of(line);
        let asu = fields.need("ASU")?.whole(1)?;
        let offset_bytes = fields.need("LBA")?.whole(SECTOR_BYTES)?;
        let length_bytes = fields.need("size")?.whole(1)?;
        let op = fields.need("opcode")?.operation()?;
        let time_ns = fields.need("timestamp")?.decimal(1_000_000_000)?;
        let place = self.volumes.place(b"", asu, offset_bytes, length_bytes)?;
        Record::new(time_ns, op, place, length_bytes)
    }
}

/// True for a first line that names the columns.
pub(super) fn is_header(line: &[u8]) -> bool {
    names_columns(line, &[0, 1, 2, 4], 3)
}

/// Why a line is not of this format.
pub(super) fn oddity(line: &[u8]) -> Option<Problem> {
    Spc::new(u64::MAX).decode(line).err()
}
