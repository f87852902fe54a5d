//! The map of a window: where [`REGION`] blocks of a volume lie.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::pool::allocator::{REGION, REGION_WORDS};

pub(super) const WINDOW_WORDS: usize = REGION_WORDS as usize;

/// The window has a table. No region begins there: it is not a multiple of [`REGION`].
pub(super) const TABLE: u32 = u32::MAX;
/// The window has no home.
pub(super) const NOWHERE: u32 = u32::MAX - 1;

type Table = Box<[AtomicU32; REGION as usize]>;

/// The map of [`REGION`] blocks.
#[derive(Debug)]
pub(super) struct Window {
    pub written: [AtomicU64; WINDOW_WORDS],
    /// First physical block of its region, [`TABLE`] or [`NOWHERE`].
    pub home: AtomicU32,
    /// First writes of blocks under way, for which physical blocks have been found.
    pub pending: AtomicU16,
    table: OnceLock<Table>,
}

impl Window {
    pub fn new() -> Self {
        Self {
            written: Default::default(),
            home: AtomicU32::new(NOWHERE),
            pending: AtomicU16::new(0),
            table: OnceLock::new(),
        }
    }

    pub fn has_table(&self) -> bool {
        self.table.get().is_some()
    }

    pub fn table(&self) -> &Table {
        self.table
            .get_or_init(|| Box::new([const { AtomicU32::new(0) }; REGION as usize]))
    }

    /// True when no block of it can have been written.
    pub fn is_blank(&self) -> bool {
        self.home.load(Ordering::Relaxed) == NOWHERE
    }

    /// The physical block of the block at `offset`, which is written.
    pub fn physical(&self, offset: u32) -> u32 {
        match self.home.load(Ordering::Relaxed) {
            TABLE => self.table()[offset as usize].load(Ordering::Relaxed),
            home => home + offset,
        }
    }

    pub fn is_unused(&self) -> bool {
        let written = self.written.iter().any(|w| w.load(Ordering::Relaxed) != 0);
        !written && self.pending.load(Ordering::Relaxed) == 0
    }

    /// Lets every block have any physical block from now on.
    pub fn use_table(&self) {
        let home = self.home.load(Ordering::Relaxed);
        let table = self.table();
        if home != NOWHERE {
            // Entries of first writes under way are set when these end.
            for (physical, entry) in (home..).zip(table.iter()) {
                entry.store(physical, Ordering::Relaxed);
            }
        }
        self.home.store(TABLE, Ordering::Release);
    }
}

/// What a window holds, for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowMap {
    /// The written blocks.
    pub written: [u64; WINDOW_WORDS],
    /// Where they lie.
    pub physical_blocks: PhysicalBlocks,
}

/// Where the written blocks of a window lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhysicalBlocks {
    /// Each at its offset behind this physical block.
    Linear(u32),
    /// One after the other, in the order of the blocks.
    Table(Vec<u32>),
}
