//! MSR Cambridge: the block traces of 36 volumes of a data centre (Narayanan
//! et al., FAST'08), as the SNIA IOTTA repository holds them.
//!
//! One request a line and no header,
//! `timestamp,hostname,disknumber,type,offset,size,responsetime`:
//!
//! - `timestamp`: a Windows file time, units of 100 ns since 1601.
//! - `hostname`, `disknumber`: the volume. Several in one file lie side by
//!   side, [`super::Options::volume_bytes`] apart, in the order of their first
//!   requests.
//! - `type`: `Read` or `Write`.
//! - `offset`, `size`: bytes.
//! - `responsetime`: units of 100 ns, not used.
//!
//! ```text
//! 128166372003061629,hm,0,Read,9056039424,4096,113736
//! ```
//!
//! Requests are logged as they complete, so times go back a little:
//! [`super::TimeOrder::Sort`] puts them in order.

use super::text::Fields;
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

    pub(super) fn decode(&mut self, line: &str) -> Result<Record, Problem> {
        let mut fields = Fields::of(line);
        let time_ns = fields.next("timestamp")?.whole(100)?;
        let host = fields.next("host name")?.text;
        let disk = fields.next("disk number")?.whole(1)?;
        let op = fields.next("type")?.operation()?;
        let offset_bytes = fields.next("offset")?.whole(1)?;
        let length_bytes = fields.next("size")?.whole(1)?;
        fields.next("response time")?.whole(1)?;
        let place = self.volumes.place(host, disk, offset_bytes, length_bytes)?;
        Record::new(time_ns, op, place, length_bytes)
    }
}

/// True for a line that only this format has.
pub(super) fn recognises(line: &str) -> bool {
    Msr::new(u64::MAX).decode(line).is_ok()
}
