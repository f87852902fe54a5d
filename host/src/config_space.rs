//! The virtio-blk config space of a vSSD (virtio 1.2, 5.2.4). One whose last two virtqueues are for
//! a driver has the mark in the place of the topology (SPEC.md, 2.2).

use vssd::units::{Geometry, SECTOR_SIZE};
use vssd::wire::{MARK_OFFSET, mark};

use crate::request::{MAX_RANGES, MAX_REQUEST};
use crate::transport::Transport;

/// Bytes of the config space.
pub const CONFIG_LEN: usize = 60;

/// Segments in a request at most, header and status not counted.
const SEG_MAX: u32 = 126;

/// The config space of a vSSD of this shape.
pub fn config_space(geometry: Geometry, transport: &Transport) -> [u8; CONFIG_LEN] {
    let mut config = [0; CONFIG_LEN];
    let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &geometry.capacity_sectors().to_le_bytes());
    put(12, &SEG_MAX.to_le_bytes());
    put(20, &geometry.logical_block_size().to_le_bytes());
    if *transport == Transport::Virtqueues {
        put(MARK_OFFSET, &mark(geometry));
    }
    put(34, &(transport.queues() as u16).to_le_bytes());
    let most = u32::try_from(geometry.capacity_sectors()).unwrap_or(u32::MAX);
    // Write-zeroes may have to write zeros, so it is bounded like a write; a discard costs little.
    let zeros = most.min(MAX_REQUEST as u32 / SECTOR_SIZE);
    for (at, most) in [(36, most), (48, zeros)] {
        put(at, &most.to_le_bytes());
        put(at + 4, &(MAX_RANGES as u32).to_le_bytes());
    }
    // Whatever the logical block size is, discarding less than a block frees nothing.
    put(44, &geometry.sectors_per_block().to_le_bytes());
    // write_zeroes_may_unmap: with the flag, and only then.
    put(56, &[1]);
    config
}
