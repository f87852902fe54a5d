//! An engine whose transfers end before they return.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use smallvec::SmallVec;
use vm_memory::VolatileSlice;

use super::{Direction, Engine};
use crate::backing::Backing;

/// Reads and writes a backing by calls that block.
pub struct Immediate {
    backing: Arc<dyn Backing>,
    is_file: bool,
    ended: VecDeque<(u64, io::Result<()>)>,
}

impl Immediate {
    /// An engine on `backing`.
    pub fn new(backing: Arc<dyn Backing>) -> Self {
        Self {
            is_file: backing.file().is_some(),
            backing,
            ended: VecDeque::new(),
        }
    }
}

impl Engine for Immediate {
    fn room(&self) -> usize {
        usize::MAX
    }

    #[allow(unsafe_code)]
    unsafe fn submit(
        &mut self,
        token: u64,
        direction: Direction,
        offset: u64,
        buffers: &mut dyn Iterator<Item = VolatileSlice<'_>>,
    ) {
        let buffers: SmallVec<[VolatileSlice<'_>; 4]> = buffers.collect();
        let result = match direction {
            Direction::Read => self.backing.read(offset, &buffers),
            Direction::Write => self.backing.write(offset, &buffers),
        };
        self.ended.push_back((token, result));
    }

    fn may_block(&self) -> bool {
        self.is_file
    }

    fn kick(&mut self) {}

    fn ended(&mut self) -> Option<(u64, io::Result<()>)> {
        self.ended.pop_front()
    }

    fn wait(&mut self) {}

    fn watch(&mut self, _other: RawFd) -> io::Result<()> {
        Ok(())
    }

    fn park(&mut self) -> bool {
        !self.ended.is_empty()
    }
}
