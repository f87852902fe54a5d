//! Units of the contract. A vSSD is addressed in *blocks*; a virtio-blk
//! request in 512-byte *sectors*. Nothing else in the workspace converts
//! between the two.

use core::fmt;

/// Bytes in a virtio-blk sector, whatever the block size (virtio 1.2, 5.2.6).
pub const SECTOR_SIZE: u32 = 512;

/// The largest logical block that a vSSD shows to drivers which do not know it: a page,
/// because Linux refuses a disk of larger ones (SPEC.md, 2.2).
pub const LOGICAL_BLOCK_MAX: u32 = 4096;

/// The largest number of blocks a vSSD may have: block numbers travel as 32
/// bits, and `start + len` of any extent must not wrap. 16 TiB of 4 KiB blocks.
pub const MAX_BLOCKS: u32 = u32::MAX - 63;

/// Shape of a vSSD: how large its blocks are and how many it has at most.
///
/// The capacity never changes while the device lives; what changes is which
/// of the blocks are held by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    block_size: u32,
    capacity: u32,
}

/// Why a [`Geometry`] cannot exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// Block size in bytes is not a power of two from 512 to 1 MiB.
    BlockSize(u32),
    /// Capacity in blocks is zero or above [`MAX_BLOCKS`].
    Capacity(u64),
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BlockSize(size) => write!(
                f,
                "block size {size} is not a power of two from 512 to 1048576 bytes"
            ),
            Self::Capacity(blocks) => write!(
                f,
                "capacity of {blocks} blocks is not between 1 and {MAX_BLOCKS}"
            ),
        }
    }
}

impl core::error::Error for GeometryError {}

impl Geometry {
    /// A geometry of `capacity` blocks of `block_size` bytes.
    pub fn new(block_size: u32, capacity: u64) -> Result<Self, GeometryError> {
        if !block_size.is_power_of_two() || !(SECTOR_SIZE..=1 << 20).contains(&block_size) {
            return Err(GeometryError::BlockSize(block_size));
        }
        match u32::try_from(capacity) {
            Ok(blocks @ 1..=MAX_BLOCKS) => Ok(Self {
                block_size,
                capacity: blocks,
            }),
            _ => Err(GeometryError::Capacity(capacity)),
        }
    }

    /// Bytes in a block.
    pub fn block_size(self) -> u32 {
        self.block_size
    }

    /// The logical block size that virtio-blk drivers are shown, `blk_size`: a block, or
    /// what of it such a driver takes.
    pub fn logical_block_size(self) -> u32 {
        self.block_size.min(LOGICAL_BLOCK_MAX)
    }

    /// Blocks in the vSSD when it is full-size.
    pub fn capacity(self) -> u32 {
        self.capacity
    }

    /// Bytes in the vSSD when it is full-size.
    pub fn capacity_bytes(self) -> u64 {
        u64::from(self.capacity) * u64::from(self.block_size)
    }

    /// Sectors in the vSSD when it is full-size: virtio-blk's `capacity`.
    pub fn capacity_sectors(self) -> u64 {
        self.capacity_bytes() / u64::from(SECTOR_SIZE)
    }

    /// Sectors in a block.
    pub fn sectors_per_block(self) -> u32 {
        self.block_size / SECTOR_SIZE
    }

    /// First sector of a block.
    pub fn first_sector(self, block: u32) -> u64 {
        u64::from(block) * u64::from(self.sectors_per_block())
    }

    /// The blocks that `bytes` bytes starting at `sector` touch, as first
    /// block and number of blocks. `None` when the span is not a whole number
    /// of sectors, is empty, or leaves the device.
    pub fn blocks_of(self, sector: u64, bytes: u64) -> Option<(u32, u32)> {
        let sector_size = u64::from(SECTOR_SIZE);
        if bytes == 0 || !bytes.is_multiple_of(sector_size) {
            return None;
        }
        let end = sector.checked_add(bytes / sector_size)?;
        if end > self.capacity_sectors() {
            return None;
        }
        let per_block = u64::from(self.sectors_per_block());
        let first = sector / per_block;
        let last = (end - 1) / per_block;
        // Both are below `capacity`, a u32, because `end` is within the device.
        Some((first as u32, (last - first + 1) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_checked_against_the_device() {
        let g = Geometry::new(4096, 4).unwrap();
        assert_eq!(g.blocks_of(0, 4096), Some((0, 1)));
        assert_eq!(g.blocks_of(7, 1024), Some((0, 2)));
        assert_eq!(g.blocks_of(24, 4096), Some((3, 1)));
        assert_eq!(g.blocks_of(25, 4096), None);
        assert_eq!(g.blocks_of(0, 0), None);
        assert_eq!(g.blocks_of(0, 100), None);
        assert_eq!(g.blocks_of(u64::MAX, 512), None);
    }

    #[test]
    fn a_logical_block_is_a_page_at_most() {
        for (block_size, logical) in [
            (512, 512),
            (2048, 2048),
            (4096, 4096),
            (8192, 4096),
            (1 << 20, 4096),
        ] {
            let geometry = Geometry::new(block_size, 1).unwrap();
            assert_eq!(geometry.logical_block_size(), logical, "{block_size}");
        }
    }

    #[test]
    fn impossible_shapes_are_refused() {
        assert_eq!(Geometry::new(1000, 1), Err(GeometryError::BlockSize(1000)));
        assert_eq!(Geometry::new(4096, 0), Err(GeometryError::Capacity(0)));
        assert!(Geometry::new(4096, 1 << 32).is_err());
    }
}
