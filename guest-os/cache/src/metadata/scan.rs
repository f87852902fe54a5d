//! What the blocks of the region are, by their headers.

use alloc::vec;
use alloc::vec::Vec;

use super::layout::{self, Header, Kind};
use super::region_blocks;
use crate::device::{BLOCK_LEN, BlockDevice};

/// Blocks read together, at most.
const LONGEST_READ: u32 = 64;

/// What was found in a block of the region.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// It is not held, or cannot be read.
    Absent,
    /// Zeros: it was revoked since it was written, or it was never written.
    Zeros,
    /// Unknown content.
    Noise,
    /// A block of a log of this other version.
    Other(u16),
    /// A block of a log like this one.
    Block(Header),
}

/// What is in each block of the region, of which the blocks `held` are read.
pub(super) async fn scan(device: &impl BlockDevice, held: impl Iterator<Item = u32>) -> Vec<Found> {
    let capacity = device.blocks();
    let blocks = region_blocks(capacity);
    let mut found = vec![Found::Absent; blocks as usize];
    let mut block = vec![0; BLOCK_LEN];
    let mut held: Vec<u32> = held.collect();
    held.sort_unstable();
    held.dedup();
    let longest = device.max_run().min(LONGEST_READ) as usize;
    let mut bytes = vec![0; longest * BLOCK_LEN];
    for run in held.chunk_by(|a, b| a + 1 == *b) {
        for run in run.chunks(longest) {
            let bytes = &mut bytes[..run.len() * BLOCK_LEN];
            if device.read(run[0], bytes).await.is_ok() {
                for (&place, block) in run.iter().zip(bytes.chunks_exact(BLOCK_LEN)) {
                    found[place as usize] = look(block, capacity, place);
                }
                continue;
            }
            // One bad block is not to take its neighbours with it.
            for &place in run {
                if device.read(place, &mut block).await.is_ok() {
                    found[place as usize] = look(&block, capacity, place);
                }
            }
        }
    }
    found
}

/// Where checkpoints begin in the blocks `held` of the region, the oldest first.
pub(super) async fn roots(device: &impl BlockDevice, held: &[u32]) -> Vec<u32> {
    let found = scan(device, held.iter().copied()).await;
    let mut roots: Vec<Header> = Vec::new();
    for found in found {
        match found {
            Found::Block(header) if header.kind == Kind::Checkpoint && header.index == 0 => {
                roots.push(header);
            }
            _ => {}
        }
    }
    roots.sort_unstable_by_key(|root| root.sequence);
    roots.iter().map(|root| root.place).collect()
}

/// What a block that was read at `place` is to the log of a vSSD of `capacity` blocks.
fn look(block: &[u8], capacity: u32, place: u32) -> Found {
    match Header::decode(block) {
        Some(header) if header.capacity == capacity && header.place == place => {
            Found::Block(header)
        }
        None if block.iter().all(|&byte| byte == 0) => Found::Zeros,
        None => layout::other_version(block).map_or(Found::Noise, Found::Other),
        Some(_) => Found::Noise,
    }
}
