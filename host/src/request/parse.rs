//! From the bytes of a descriptor chain to a request.
//!
//! A chain comes from a guest and may contain anything. An invalid request is refused with an error
//! if the chain has a status byte, and affects no other request.

use std::ops;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use vssd::error::Reject;
use vssd::units::SECTOR_SIZE;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::chain::Buffers;
use crate::latency::Operation;

/// The most bytes that a request may move: what 256 segments of 256 KiB make.
pub const MAX_REQUEST: usize = 64 << 20;

/// Segments of a discard or write-zeroes request, as in config space.
pub const MAX_RANGES: usize = 1;

/// The header of a request (virtio 1.2, 5.2.6).
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Header {
    kind: U32,
    reserved: U32,
    sector: U64,
}

/// A discard or write-zeroes segment (virtio 1.2, 5.2.6).
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Range {
    sector: U64,
    sectors: U32,
    flags: U32,
}

/// The operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Op {
    /// Fill the data buffers.
    Read,
    /// Store the data buffers.
    Write,
    /// Make a range read as zeros, and release its physical blocks: discard, and write-zeroes with
    /// unmap.
    Zero,
    /// Make what was written durable.
    #[default]
    Flush,
    /// Return the ID of the device.
    Identify,
}

/// A request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The operation.
    pub op: Op,
    /// Where; unused by a flush.
    pub sector: u64,
    /// How many bytes of the device.
    pub bytes: u64,
    /// Stores zeros instead of data buffers: write-zeroes without unmap, which must not release
    /// physical blocks (virtio 1.2, 5.2.6.2).
    pub zeros: bool,
}

impl Request {
    /// The blocks that it covers completely.
    pub(super) fn whole_blocks(self, block_size: u32) -> ops::Range<u32> {
        let block_size = u64::from(block_size);
        let begin = self.sector * u64::from(SECTOR_SIZE);
        let end = begin + self.bytes;
        begin.div_ceil(block_size) as u32..(end / block_size) as u32
    }

    /// The operation under which its time is counted; none for a request of the ID.
    pub(super) fn measured(self) -> Option<Operation> {
        match self.op {
            Op::Write if self.zeros => Some(Operation::Zero),
            Op::Read => Some(Operation::Read),
            Op::Write => Some(Operation::Write),
            Op::Zero => Some(Operation::Zero),
            Op::Flush => Some(Operation::Flush),
            Op::Identify => None,
        }
    }
}

/// Parses a request's header, which is taken from `readable`; `data` is what the device may fill,
/// without the status byte.
///
/// # Errors
/// [`Reject::Malformed`] for an invalid request, [`Reject::Unsupported`] for
/// one that this device does not know.
pub fn parse(readable: &mut Buffers<'_>, data: &Buffers<'_>) -> Result<Request, Reject> {
    let mut header = Header::new_zeroed();
    if !readable.take(header.as_mut_bytes()) {
        return Err(Reject::Malformed);
    }
    let (kind, sector) = (header.kind.get(), header.sector.get());
    if readable.len() > MAX_REQUEST || data.len() > MAX_REQUEST {
        return Err(Reject::Malformed);
    }
    let request = |op, bytes: usize| Request {
        op,
        sector,
        bytes: bytes as u64,
        zeros: false,
    };
    match kind {
        VIRTIO_BLK_T_IN => Ok(request(Op::Read, data.len())),
        VIRTIO_BLK_T_OUT => Ok(request(Op::Write, readable.len())),
        VIRTIO_BLK_T_FLUSH => Ok(request(Op::Flush, 0)),
        VIRTIO_BLK_T_GET_ID => Ok(request(Op::Identify, data.len())),
        VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => range(kind, readable),
        _ => Err(Reject::Unsupported),
    }
}

/// The one range of a discard or write-zeroes request.
fn range(kind: u32, readable: &Buffers<'_>) -> Result<Request, Reject> {
    if readable.len() != size_of::<[Range; MAX_RANGES]>() {
        return Err(Reject::Malformed);
    }
    let mut ranges: [Range; MAX_RANGES] = FromZeros::new_zeroed();
    readable.copy_to(ranges.as_mut_bytes());
    let [range] = ranges;
    let (sector, flags) = (range.sector.get(), range.flags.get());
    // Only write-zeroes has a flag: unmap (virtio 1.2, 5.2.6.2).
    let known = u32::from(kind == VIRTIO_BLK_T_WRITE_ZEROES);
    if flags & !known != 0 {
        return Err(Reject::Unsupported);
    }
    let bytes = u64::from(range.sectors.get()) * u64::from(SECTOR_SIZE);
    let zeros = kind == VIRTIO_BLK_T_WRITE_ZEROES && flags == 0;
    // Zeros are written like data, and bounded like data, as config space announces.
    if zeros && bytes > MAX_REQUEST as u64 {
        return Err(Reject::Malformed);
    }
    Ok(Request {
        op: if zeros { Op::Write } else { Op::Zero },
        sector,
        bytes,
        zeros,
    })
}

#[cfg(test)]
mod tests {
    use vm_memory::VolatileSlice;

    use super::*;

    /// Parses a request of these bytes, without buffers for the device to fill.
    fn parsed(mut bytes: Vec<u8>) -> Result<Request, Reject> {
        let mut readable = [VolatileSlice::from(&mut bytes[..])].into_iter().collect();
        parse(&mut readable, &Buffers::default())
    }

    fn header(kind: u8) -> [u8; 16] {
        [
            kind, 0, 0, 0, // type
            0xaa, 0xaa, 0xaa, 0xaa, // reserved
            8, 7, 6, 5, 4, 3, 2, 1, // sector
        ]
    }

    fn segment(flags: u8) -> [u8; 16] {
        [
            0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, // sector
            3, 1, 0, 0, // sectors
            flags, 0, 0, 0, // flags
        ]
    }

    /// The layouts of virtio 1.2, 5.2.6, byte by byte.
    #[test]
    fn requests_are_read_from_golden_bytes() {
        let write = Request {
            op: Op::Write,
            sector: 0x0102_0304_0506_0708,
            bytes: 512,
            zeros: false,
        };
        assert_eq!(parsed([&header(1)[..], &[7; 512]].concat()), Ok(write));
        let zero = Request {
            op: Op::Zero,
            sector: 0x1112_1314_1516_1718,
            bytes: 0x103 * 512,
            zeros: false,
        };
        let store_zeros = Request {
            op: Op::Write,
            zeros: true,
            ..zero
        };
        for (kind, flags, request) in [
            (11, 0, Ok(zero)),
            (11, 1, Err(Reject::Unsupported)),
            (13, 1, Ok(zero)),
            (13, 0, Ok(store_zeros)),
            (13, 2, Err(Reject::Unsupported)),
        ] {
            let bytes = [header(kind), segment(flags)].concat();
            assert_eq!(parsed(bytes), request, "type {kind}, flags {flags}");
        }
    }
}
