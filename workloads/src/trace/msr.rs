//! MSR Cambridge: the block traces of 36 volumes of a data centre (Narayanan
//! et al., FAST'08), as the SNIA IOTTA repository holds them.
//!
//! One request a line, `timestamp,hostname,disknumber,type,offset,size,responsetime`. The
//! originals have no header; a first line that names the columns, as copies have it, is
//! skipped:
//!
//! - `timestamp`: a Windows file time, units of 100 ns since 1601.
//! - `hostname`, `disknumber`: the volume. Several in one file lie side by
//!   side, [`super::Options::volume_bytes`] apart, in the order of their first
//!   requests.
//! - `type`: `Read` or `Write`.
//! - `offset`, `size`: bytes.
//! - `responsetime`: units of 100 ns. It is not used, so it may be anything, or not there.
//!
//! ```text
//! 128166372003061629,hm,0,Read,9056039424,4096,113736
//! ```
//!
//! Requests are logged as they complete, so times go back a little:
//! [`super::TimeOrder::Sort`] puts them in order.

use super::text::{Fields, names_columns};
use super::volumes::Volumes;
use super::{Problem, Record};

pub(super) struct Msr {
    volumes: Volumes,
}

impl Msr {
    pub(super) fn new(volume_bytes: u64) -> Self {
        Self {
            volumes: Volumes::new(volume_bytes),
        }
    }

    /// How many volumes there were so far.
    pub(super) fn volumes(&self) -> usize {
        self.volumes.count()
    }

    pub(super) fn decode(&mut self, line: &[u8]) -> Result<Record, Problem> {
        let mut fields = Fields::of(line);
        let time_ns = fields.need("timestamp")?.whole(100)?;
        let host = fields.need("host name")?.text();
        let disk = fields.need("disk number")?.whole(1)?;
        let op = fields.need("type")?.operation()?;
        let offset_bytes = fields.need("offset")?.whole(1)?;
        let length_bytes = fields.need("size")?.whole(1)?;
        let place = self.volumes.place(host, disk, offset_bytes, length_bytes)?;
        Record::new(time_ns, op, place, length_bytes)
    }
}

/// True for a first line that names the columns.
pub(super) fn is_header(line: &[u8]) -> bool {
    names_columns(line, &[0, 2, 4, 5], 3)
}

/// Why a line is not of this format.
pub(super) fn oddity(line: &[u8]) -> Option<Problem> {
    Msr::new(u64::MAX).decode(line).err()
}

/// True for a line that is of this format and not of SPC's, whose lines may have as many
/// fields: its host is named, or it ends with a response time, if only by -1 or nothing.
pub(super) fn is_request(line: &[u8]) -> bool {
    let mut fields = Fields::of(line);
    let host = fields.nth(1);
    let response = fields.nth(4);
    let is_named = host.is_some_and(|host| !host.iter().all(u8::is_ascii_digit));
    let is_number = |text: &[u8]| text.iter().all(|byte| b"0123456789.-".contains(byte));
    oddity(line).is_none() && (is_named || response.is_some_and(is_number))
}
