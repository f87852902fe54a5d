//! A disk: one actuator, which every request occupies for one access.

use super::regions::Regions;
use super::{Times, Wear};
use crate::io::Direction;

/// See the module.
#[derive(Debug)]
pub struct Disk {
    times: Times,
    busy_until_ns: u64,
    regions: Regions,
}

impl Disk {
    pub(super) fn new(times: Times, len: u64) -> Self {
        Self {
            times,
            busy_until_ns: 0,
            regions: Regions::new(len),
        }
    }

    pub(super) fn start(
        &mut self,
        now_ns: u64,
        direction: Direction,
        offset: u64,
        len: u64,
    ) -> u64 {
        if direction == Direction::Write {
            self.regions.write(len, offset, offset + len);
        }
        self.busy_until_ns = self.busy_until_ns.max(now_ns) + self.times.of(direction);
        self.busy_until_ns
    }

    pub(super) fn wear(&self) -> Wear {
        self.regions.wear()
    }
}
