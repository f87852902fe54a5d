//! The highest block numbers: few, long runs.

use vssd::block_set::BlockSet;

use super::Surrender;

/// See [`workloads::GuestPick::Highest`].
pub struct Highest;

impl Surrender for Highest {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        held.last(count)
    }
}
