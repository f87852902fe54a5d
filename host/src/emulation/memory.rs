//! A memory: banks with lines striped over them, written in place.

use super::regions::Regions;
use super::{Times, Wear};
use crate::io::Direction;

/// Bytes in a line.
pub const LINE: u64 = 64;
/// Banks that work side by side.
pub const BANKS: u64 = 16;

/// See the module.
#[derive(Debug)]
pub struct Memory {
    times: Times,
    busy_until_ns: [u64; BANKS as usize],
    regions: Regions,
}

impl Memory {
    pub(super) fn new(times: Times, len: u64) -> Self {
        Self {
            times,
            busy_until_ns: [0; BANKS as usize],
            regions: Regions::new(len),
        }
    }

    /// Lines are not visited one by one: of `lines` in a row every bank has a `BANKS`th, and the
    /// first few banks from where the row begins have one of the rest.
    pub(super) fn start(
        &mut self,
        now_ns: u64,
        direction: Direction,
        offset: u64,
        len: u64,
    ) -> u64 {
        let first = offset / LINE;
        let end = (offset + len).div_ceil(LINE);
        if direction == Direction::Write {
            self.regions.write(len, first * LINE, end * LINE);
        }
        let (each, rest) = ((end - first) / BANKS, (end - first) % BANKS);
        let mut done_ns = now_ns;
        for step in 0..BANKS.min(end - first) {
            let busy = &mut self.busy_until_ns[((first + step) % BANKS) as usize];
            let lines = each + u64::from(step < rest);
            *busy = now_ns.max(*busy) + lines * self.times.of(direction);
            done_ns = done_ns.max(*busy);
        }
        done_ns
    }

    pub(super) fn wear(&self) -> Wear {
        self.regions.wear()
    }
}
