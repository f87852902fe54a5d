//! The application of the testbed: knows what each block contains, picks the
//! blocks to give up, and reports every change.

use alloc::boxed::Box;

use vssd::block_set::BlockSet;
use vssd::demand::Demand;
use vssd::encoding::SetView;
use workloads::{GuestPick, Report, report};

use crate::contents::Contents;
use crate::disk::{Application, Choice};
use crate::surrender::{Sample, Surrender, picker};

/// Seed of contents until a command says otherwise.
const DEFAULT_SEED: u64 = 1;

/// Blocks that changed ownership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Given up.
    pub surrendered: u32,
    /// Granted.
    pub granted: u32,
    /// Lost to revocation.
    pub revoked: u32,
}

/// The application on top of the driver.
pub struct App {
    /// What each block contains.
    pub contents: Contents,
    /// The sample of the workload that hints have drawn so far.
    pub sample: Sample,
    /// Blocks revoked since a job last took them out.
    pub lost: BlockSet,
    picker: Box<dyn Surrender>,
    is_attached: bool,
    /// Since the last [`Report::Resized`].
    recent: Moved,
    total: [u64; 3],
}

impl App {
    /// An application on a device of `capacity` blocks with unknown contents.
    pub fn new(capacity: u32) -> Self {
        Self {
            contents: Contents::unknown(capacity, DEFAULT_SEED),
            sample: Sample::default(),
            lost: BlockSet::empty(capacity),
            picker: picker(GuestPick::Random, DEFAULT_SEED, capacity, Sample::default()),
            is_attached: false,
            recent: Moved::default(),
            total: [0; 3],
        }
    }

    /// Picks in this way from now on, on the sample as it is now and on
    /// accesses from now on.
    pub fn set_pick(&mut self, pick: GuestPick, seed: u64) {
        let capacity = self.lost.capacity();
        self.picker = picker(pick, seed, capacity, self.sample.clone());
    }

    /// A block is read or written on behalf of the workload.
    #[inline]
    pub fn accessed(&mut self, block: u32) {
        self.picker.accessed(block);
    }

    /// The change of the list since the last call, if there was one.
    pub fn take_resized(&mut self, held: u32) -> Option<Report> {
        let moved = core::mem::take(&mut self.recent);
        (moved != Moved::default()).then_some(Report::Resized(report::Resized {
            held,
            surrendered: moved.surrendered,
            granted: moved.granted,
            revoked: moved.revoked,
        }))
    }

    /// Blocks surrendered, granted and revoked since boot.
    pub fn totals(&self) -> [u64; 3] {
        self.total
    }

    fn moved(&mut self, surrendered: u32, granted: u32, revoked: u32) {
        self.recent.surrendered += surrendered;
        self.recent.granted += granted;
        self.recent.revoked += revoked;
        for (total, step) in self.total.iter_mut().zip([surrendered, granted, revoked]) {
            *total += u64::from(step);
        }
    }
}

impl Application for App {
    fn choose(&mut self, count: u32, held: &BlockSet) -> Choice {
        Choice::All(self.picker.choose(count, held))
    }

    fn demand(&mut self) -> Option<Demand> {
        None
    }

    fn surrendered(&mut self, count: u32) {
        self.moved(count, 0, 0);
    }

    fn granted(&mut self, blocks: &SetView<'_>) {
        self.contents.granted(blocks);
        self.moved(0, blocks.len(), 0);
    }

    fn revoked(&mut self, blocks: &SetView<'_>) {
        self.lost.insert_view(blocks);
        self.moved(0, 0, blocks.len());
    }

    fn resynced(&mut self, gained: &BlockSet, lost: &BlockSet) {
        self.contents.gained(gained);
        self.lost.union_with(lost);
        // The first list is where the guest starts from, not a change.
        if core::mem::replace(&mut self.is_attached, true) {
            self.moved(0, gained.len(), lost.len());
        }
    }
}
