//! A guest that gives up nothing, so that deadlines take effect.

use vssd::block_set::BlockSet;

use super::Surrender;

/// See [`workloads::GuestPick::Refuse`].
pub struct Refuse;

impl Surrender for Refuse {
    fn choose(&mut self, _count: u32, held: &BlockSet) -> BlockSet {
        BlockSet::empty(held.capacity())
    }
}
