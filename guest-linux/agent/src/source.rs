//! What gives blocks of the vSSD up and takes them back: a balloon in a file system, a cache, or a
//! list of an application.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use vssd::block_set::BlockSet;

use crate::error::Result;

/// The driver's list, as a source sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Blocks that the guest may use.
    pub held: &'a BlockSet,
    /// Blocks that were chosen and that the device has not taken yet.
    pub leaving: Option<&'a BlockSet>,
}

impl View<'_> {
    /// Blocks that the device has, or may have by now.
    pub fn gone(&self) -> BlockSet {
        let mut gone = BlockSet::full(self.held.capacity());
        gone.subtract(self.held);
        gone
    }

    /// Blocks that the device has: those on their way to it are none.
    pub fn taken(&self) -> BlockSet {
        let mut taken = self.gone();
        if let Some(leaving) = self.leaving {
            taken.subtract(leaving);
        }
        taken
    }
}

/// The answer to a shrink.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// These, at least one; ask again for what is missing.
    Some(BlockSet),
    /// These, possibly none, and there are no more.
    Last(BlockSet),
    /// There is work to do first: ask again after this time.
    Later(Duration),
}

/// See the module. A step that fails is reported, and answered to the device as by a guest that
/// has nothing to give; the source is asked again at the next occasion.
pub trait Source {
    /// The list was read anew: compares what is given up with what the device has. Nothing else is
    /// asked before this.
    fn listed(&mut self, view: View<'_>) -> Result<()>;

    /// Which `count` held blocks to give up. Nothing uses them from then on.
    fn choose(&mut self, held: &BlockSet, count: u32) -> Result<Choice>;

    /// Blocks are held again, or stay held after all: whatever of them was kept free of use may be
    /// used.
    fn release(&mut self, held: &BlockSet) -> Result<()>;

    /// The device took blocks that were not chosen.
    fn lost(&mut self, view: View<'_>) -> Result<()>;

    /// The device wants nothing: time for what can wait.
    fn settled(&mut self) -> Result<()> {
        Ok(())
    }

    /// Readable when [`woken`](Self::woken) has something to look at.
    fn watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Something changed, or the operator asks to look again (SIGHUP).
    fn woken(&mut self, _view: View<'_>) -> Result<()> {
        Ok(())
    }
}
