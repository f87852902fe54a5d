//! The highest block numbers: few, long runs.

use vssd::block_set::BlockSet;

use super::Surrender;

/// See [`workloads::Policy::Highest`].
pub struct Highest;

impl Surrender for Highest {
    fn choose(&mut self, count: u32, held: &BlockSet) -> BlockSet {
        let mut chosen = BlockSet::empty(held.capacity());
        let mut keep = held.len().saturating_sub(count);
        for run in held.runs() {
            let kept = keep.min(run.len);
            keep -= kept;
            chosen.insert_range(run.start + kept, run.len - kept);
        }
        chosen
    }
}
