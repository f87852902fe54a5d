//! Where on the vSSD a block device lies: through partitions, and through device mapper targets
//! that move nothing.
//!
//! ```text
//!  /dev/mapper/data   dm-crypt   ┐
//!  /dev/vda2          partition  ├ each adds an offset; a linear target may have several parts
//!  /dev/vda           the vSSD   ┘ found by its serial number
//! ```
//!
//! Each of these devices has its start and its end kept: programs look there for what is on it, as
//! `blkid` does in the first 4 MiB and the last 1.5 MiB.

mod search;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

pub use self::search::{Devices, below};
use crate::error::Result;

/// Bytes at the start of each device that are never given up.
pub const KEPT_START: u64 = 8 << 20;

/// Bytes at the end of each device that are never given up.
pub const KEPT_END: u64 = 2 << 20;

/// A part of a device that lies in one piece on the vSSD, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the device.
    pub from: u64,
    /// How long.
    pub len: u64,
    /// Where on the vSSD.
    pub to: u64,
}

impl Segment {
    /// The part of it within `range`, bytes of the device.
    pub fn slice(&self, range: Range<u64>) -> Option<Self> {
        let start = range.start.max(self.from);
        let end = range.end.min(self.from + self.len);
        (start < end).then(|| Self {
            from: start,
            len: end - start,
            to: self.to + (start - self.from),
        })
    }
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// The number in what `stat` returns.
    pub fn from_raw(raw: u64) -> Self {
        Self {
            major: rustix::fs::major(raw),
            minor: rustix::fs::minor(raw),
        }
    }

    /// The number in a text like `254:0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A line of a device mapper table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// First sector of the device.
    pub start: u64,
    /// Number of sectors.
    pub len: u64,
    /// What it does, as in `linear`.
    pub kind: String,
    /// Its parameters.
    pub params: String,
}

/// The tables of device mapper devices.
pub trait Tables {
    /// The table of a device.
    fn table(&self, device: DeviceNumber) -> Result<Vec<Target>>;
}

/// What a device is made of, on the vSSD.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its parts on the vSSD; what is elsewhere is in none.
    pub segments: Vec<Segment>,
    /// Ranges of the vSSD, in bytes, that are never given up.
    pub keep_out: Vec<Range<u64>>,
}

impl Place {
    /// Ranges of the vSSD where `range` of the device lies.
    pub fn on_vssd(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let parts = self.segments.iter();
        let parts = parts.filter_map(move |segment| segment.slice(range.clone()));
        parts.map(|part| part.to..part.to + part.len)
    }

    /// Keeps the start and the end of a device of `len` bytes that has this place.
    fn keep_ends(&mut self, len: u64) {
        let start = self.on_vssd(0..KEPT_START);
        let end = self.on_vssd(len.saturating_sub(KEPT_END)..len);
        let ends: Vec<_> = start.chain(end).collect();
        self.keep_out.extend(ends);
    }
}

/// Which disk is the vSSD.
#[derive(Clone, Debug)]
pub enum Which {
    /// The one with the serial number of the vSSD.
    Serial,
    /// This one, the operator says.
    Disk(PathBuf),
}
