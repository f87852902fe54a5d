//! The outcome of a plan, and of blocks that come and go meanwhile.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use super::MetaError;
use super::log::{Building, Chain, MetaLog};
use super::plan::{Plan, PlannedLog};
use super::space::Use;
use crate::device::IoError;

/// The outcome of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The records are durable.
    Committed,
    /// They are not yet: plan the same records again.
    Again,
}

impl MetaLog {
    /// Processes the result of writing a plan, of which blocks may have been revoked in between.
    ///
    /// # Errors
    /// When it failed.
    ///
    /// # Panics
    /// When no plan is under way.
    pub fn finish(&mut self, plan: Plan, written: Result<(), IoError>) -> Result<Step, MetaError> {
        assert!(self.is_planned, "no plan is under way");
        self.is_planned = false;
        self.blocks_written += plan.len() as u64;
        let blank = if written.is_ok() { Use::Free } else { Use::Raw };
        self.settle(&plan.blanks, blank);
        if written.is_ok() {
            self.retiring.retain(|place| !plan.retired.contains(place));
        }
        if let Some(log) = plan.log {
            self.finish_log(log, written.is_ok());
        }
        if !plan.checkpoint.is_empty() {
            let whole = written.is_ok() && self.are_planned(&plan.checkpoint);
            self.finish_checkpoint(&plan.checkpoint, plan.has_root, plan.has_end, whole);
        }
        written.map_err(MetaError::Device)?;
        if plan.has_records && self.sound_chain().is_some() {
            Ok(Step::Committed)
        } else {
            Ok(Step::Again)
        }
    }

    fn are_planned(&self, places: &[u32]) -> bool {
        let is_planned = |&place: &u32| self.space.get(place) == Use::Planned;
        places.iter().all(is_planned)
    }

    /// Says what planned blocks are from now on, but for those that were revoked.
    fn settle(&mut self, places: &[u32], to: Use) {
        for &place in places {
            if self.space.get(place) == Use::Planned {
                self.space.set(place, to);
            }
        }
    }

    fn finish_log(&mut self, log: PlannedLog, is_written: bool) {
        let is_whole = self.are_planned(&log.places) && self.are_planned(&[log.next]);
        self.settle(&log.places, Use::Log);
        self.settle(&[log.next], Use::Next);
        match &mut self.chain {
            Some(chain) if is_written => {
                chain.log.extend(&log.places);
                (chain.next, chain.last) = (log.next, log.last);
            }
            // What was planned stays out of use until the chain is replaced: recovery may
            // find the commit, and then needs all of its blocks.
            Some(chain) => {
                chain.is_condemned = true;
                self.abandon_overtaking();
            }
            None => {}
        }
        if !is_whole || self.chain.is_none() {
            self.break_chain();
        }
    }

    fn finish_checkpoint(&mut self, places: &[u32], has_root: bool, has_end: bool, whole: bool) {
        if whole && let Some(building) = &self.building {
            debug_assert_eq!(has_end, building.cursor.is_none());
            self.settle(places, Use::Building);
            if has_end {
                self.complete_checkpoint();
            }
            return;
        }
        // It may be complete on the medium all the same.
        if has_root && self.space.get(places[0]) == Use::Planned {
            self.retiring.push(places[0]);
        }
        self.settle(places, Use::Old);
        self.abandon_checkpoint();
    }

    /// The checkpoint is durable: what it replaces is old.
    fn complete_checkpoint(&mut self) {
        let building = self.building.take().expect("it is being written");
        let root = building.root.expect("it has blocks");
        match building.overtakes {
            Some(blocks) => {
                let chain = self.chain.as_mut().expect("its log goes on");
                self.retiring.push(chain.root);
                chain.root = root;
                for place in chain.log.drain(..blocks) {
                    self.space.set(place, Use::Old);
                }
                self.space.replace(Use::Checkpoint, Use::Old);
            }
            None => {
                self.break_chain();
                self.space.set(building.start, Use::Next);
                self.chain = Some(Chain {
                    root,
                    log: VecDeque::new(),
                    next: building.start,
                    last: building.previous,
                    is_condemned: false,
                });
            }
        }
        self.space.replace(Use::Building, Use::Checkpoint);
    }

    /// Gives the chain up: its blocks are old, its root is to be erased.
    fn break_chain(&mut self) {
        self.abandon_overtaking();
        if let Some(chain) = self.chain.take()
            && self.space.get(chain.root) == Use::Checkpoint
        {
            self.retiring.push(chain.root);
        }
        for of in [Use::Checkpoint, Use::Log, Use::Next] {
            self.space.replace(of, Use::Old);
        }
    }

    /// Gives up the checkpoint that is being written, if its log is the chain's.
    fn abandon_overtaking(&mut self) {
        if matches!(&self.building, Some(building) if building.overtakes.is_some()) {
            self.abandon_checkpoint();
        }
    }

    pub(super) fn abandon_checkpoint(&mut self) {
        if let Some(Building {
            root: Some(root), ..
        }) = self.building.take()
            && self.space.get(root) == Use::Building
        {
            self.retiring.push(root);
        }
        self.space.replace(Use::Building, Use::Old);
    }

    /// Blocks of the vSSD were granted; those of the region count, the others are
    /// nothing to the log.
    pub fn granted(&mut self, blocks: &[Range<u32>]) {
        for place in self.space.clip(blocks) {
            if self.space.get(place) == Use::Absent {
                self.space.set(place, Use::Raw);
            }
        }
    }

    /// Blocks of the vSSD were revoked, with what was in them; the same.
    pub fn revoked(&mut self, blocks: &[Range<u32>]) {
        for place in self.space.clip(blocks) {
            self.take(place);
        }
    }

    fn take(&mut self, place: u32) {
        let was = self.space.get(place);
        self.space.set(place, Use::Absent);
        self.retiring.retain(|&root| root != place);
        match was {
            Use::Checkpoint | Use::Log | Use::Next => self.break_chain(),
            Use::Building => self.abandon_checkpoint(),
            Use::Absent | Use::Raw | Use::Free | Use::Planned | Use::Old => {}
        }
    }

    /// Gives up at most `max` blocks of the region, those first that nothing needs. When
    /// it comes to others, nothing is recorded any longer: everything dirty must have been
    /// written back before. Blocks of a plan under way stay, and so do roots until a commit
    /// has erased them: what is given up is still there until the hypervisor takes it.
    pub fn surrender(&mut self, max: u32) -> Vec<u32> {
        let mut given = Vec::new();
        for of in [Use::Raw, Use::Free, Use::Old, Use::Building] {
            self.give(of, max, &mut given);
        }
        if given.len() < max as usize {
            self.forget();
            self.give(Use::Old, max, &mut given);
        }
        given
    }

    /// Gives up blocks of a use until there are `max` of any.
    fn give(&mut self, of: Use, max: u32, given: &mut Vec<u32>) {
        let from = given.len();
        let can_go = self
            .space
            .all(of)
            .filter(|place| !self.retiring.contains(place));
        given.extend(can_go.take(max as usize - from));
        given[from..].iter().for_each(|&place| self.take(place));
    }

    /// Gives up what is recorded, when it cannot be kept as it should be
    /// ([`MetaError::Full`]). Everything dirty must have been written back before. Commits
    /// begin anew; that the old records are gone for certain, [`is_void`](Self::is_void) says.
    pub fn forget(&mut self) {
        self.break_chain();
        self.abandon_checkpoint();
    }
}
