//! Write-around: a write goes to the origin, and to the vSSD only if its block is there
//! already. What is written once and not read takes no slot.

use crate::block_cache::Served;
use crate::block_cache::state::{Arrival, Core};

impl Core {
    /// A write arrives: its block is not admitted.
    pub(crate) fn arrive_write_around(&mut self, block: u32, found: Option<u32>) -> Arrival {
        match found {
            Some(_) => self.arrive_write_through(block, found, Ok(())),
            None => Err(Served::Miss),
        }
    }
}
