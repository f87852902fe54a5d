//! Emulated media: when a request would end on a spinning disk, on flash, or on a
//! non-volatile memory.
//!
//! A [`MediaModel`] takes each request as it starts and returns when it may end,
//! given those that started before it. It holds neither bytes nor clocks: time is an
//! argument, so that a schedule can be computed by hand. The
//! [`Paced`](crate::io::paced::Paced) engine brings the clock and delays real transfers.
//!
//! A medium has *units* that work side by side and do one thing at a time: a request
//! occupies each unit that it falls on, in order of arrival, and ends when the last of
//! these does. A unit that is free works at once; none waits for another.
//!
//! Times of one access and cycles until wear-out are those of the talk of 2017:
//!
//! | kind | read | write | erase | cycles |
//! | --- | --- | --- | --- | --- |
//! | disk | 5 ms | 5 ms | | |
//! | SLC flash | 25 µs | 500 µs | 2 ms | 10⁴ to 10⁵ |
//! | PCM | 50 ns | 500 ns | | 10⁸ to 10⁹ |
//! | STT-RAM | 10 ns | 50 ns | | |
//! | ReRAM | 10 ns | 50 ns | | 10¹¹ |
//! | DRAM | 50 ns | 50 ns | | |
//!
//! The talk says neither how much an access moves nor how many go on at once. That is
//! assumed here, with values that are usual:
//!
//! - [`disk`]: one actuator. A request is one access whatever its length, for 5 ms is
//!   seek and rotation, beside which the transfer of some KiB is nothing.
//! - [`flash`]: 8 dies, pages of 4 KiB striped over them, erase blocks of 256 pages, and
//!   7 % more pages than are offered, which is the difference between a GB and a GiB.
//! - [`memory`]: 16 banks, as a rank of DDR4 has by JEDEC's standard JESD79-4, and lines of
//!   64 bytes, one burst of it, striped over them. The other memories have the same shape, so that only
//!   the talk's times tell them apart.
//!
//! No model has a cache, a bus that fills up, or a command queue that reorders.

pub mod disk;
pub mod flash;
pub mod memory;
mod regions;

use self::disk::Disk;
use self::flash::Flash;
use self::memory::Memory;
use crate::io::Direction;
use crate::size::ByteSize;

/// The media of the talk.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
    strum::Display,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum MediaKind {
    /// A spinning disk.
    Hdd,
    /// NAND flash with one bit in a cell.
    SlcFlash,
    /// Phase-change memory.
    Pcm,
    /// Spin-transfer-torque magnetic memory.
    SttRam,
    /// Resistive memory.
    Reram,
    /// Volatile memory, for comparison.
    Dram,
}

impl MediaKind {
    /// All of them, slowest first.
    pub const ALL: [Self; 6] = [
        Self::Hdd,
        Self::SlcFlash,
        Self::Pcm,
        Self::Dram,
        Self::SttRam,
        Self::Reram,
    ];

    /// Times of one access, from the talk.
    pub fn times(self) -> Times {
        let (read_ns, write_ns, erase_ns) = match self {
            Self::Hdd => (5_000_000, 5_000_000, 0),
            Self::SlcFlash => (25_000, 500_000, 2_000_000),
            Self::Pcm => (50, 500, 0),
            Self::SttRam | Self::Reram => (10, 50, 0),
            Self::Dram => (50, 50, 0),
        };
        Times {
            read_ns,
            write_ns,
            erase_ns,
        }
    }

    /// Cycles after which a cell wears out, from and to, from the talk.
    pub fn endurance(self) -> Option<(u64, u64)> {
        match self {
            Self::SlcFlash => Some((10_000, 100_000)),
            Self::Pcm => Some((100_000_000, 1_000_000_000)),
            Self::Reram => Some((100_000_000_000, 100_000_000_000)),
            Self::Hdd | Self::SttRam | Self::Dram => None,
        }
    }
}

/// How long a unit takes for one access, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// To read.
    pub read_ns: u64,
    /// To write, or to program what was erased.
    pub write_ns: u64,
    /// To erase; 0 where nothing is erased.
    pub erase_ns: u64,
}

impl Times {
    fn of(self, direction: Direction) -> u64 {
        match direction {
            Direction::Read => self.read_ns,
            Direction::Write => self.write_ns,
        }
    }
}

/// The wear of a medium since the model began.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Wear {
    /// Cycles of the most worn part: erasures of an erase block of flash, elsewhere full overwrites
    /// of a region of 2 MiB.
    pub cycles_max: f64,
    /// The mean of the same.
    pub cycles_mean: f64,
    /// Cycles at which wear-out begins and is certain, where there is such a thing.
    pub limit: Option<(u64, u64)>,
    /// Bytes that requests wrote.
    pub host_bytes: u64,
    /// Bytes that the medium wrote.
    pub media_bytes: u64,
    /// Write amplification: the latter by the former; for flash in pages, so that it shows copies
    /// alone. 1 before the first write.
    pub write_amplification: f64,
    /// Erase blocks erased.
    pub erases: u64,
}

/// The medium is larger than a model can be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--media emulates at most {most} of this medium, but the pool has {have}: make the pool smaller with --size, or leave out --media"
)]
pub struct TooLarge {
    have: ByteSize,
    most: ByteSize,
}

/// See the module.
#[derive(Debug)]
pub struct MediaModel {
    kind: MediaKind,
    /// Bytes of the medium.
    len: u64,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    Disk(Disk),
    Flash(Flash),
    Memory(Memory),
}

impl MediaModel {
    /// The largest medium, bytes. Flash takes up to nine bytes of memory for a page, so some 2.3 GiB.
    pub const LEN_MAX: u64 = 1 << 40;

    /// A new medium of `len` bytes, on which nothing was ever written.
    ///
    /// # Errors
    /// When it is larger than [`LEN_MAX`](Self::LEN_MAX).
    pub fn new(kind: MediaKind, len: u64) -> Result<Self, TooLarge> {
        if len > Self::LEN_MAX {
            return Err(TooLarge {
                have: ByteSize(len),
                most: ByteSize(Self::LEN_MAX),
            });
        }
        let times = kind.times();
        let parts = match kind {
            MediaKind::Hdd => Parts::Disk(Disk::new(times, len)),
            MediaKind::SlcFlash => Parts::Flash(Flash::new(times, len)),
            _ => Parts::Memory(Memory::new(times, len)),
        };
        Ok(Self { kind, len, parts })
    }

    /// The kind of medium.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Starts a request at `now_ns` on `len` bytes at `offset`, and returns the earliest time at
    /// which it may end. What lies past the end of the medium takes no time.
    ///
    /// Times of successive calls shall not decrease.
    pub fn start(&mut self, now_ns: u64, direction: Direction, offset: u64, len: u64) -> u64 {
        let len = len.min(self.len.saturating_sub(offset));
        if len == 0 {
            return now_ns;
        }
        match &mut self.parts {
            Parts::Disk(disk) => disk.start(now_ns, direction, offset, len),
            Parts::Flash(flash) => flash.start(now_ns, direction, offset, len),
            Parts::Memory(memory) => memory.start(now_ns, direction, offset, len),
        }
    }

    /// Its wear.
    pub fn wear(&self) -> Wear {
        let wear = match &self.parts {
            Parts::Disk(disk) => disk.wear(),
            Parts::Flash(flash) => flash.wear(),
            Parts::Memory(memory) => memory.wear(),
        };
        Wear {
            limit: self.kind.endurance(),
            ..wear
        }
    }
}

#[cfg(test)]
mod tests;
