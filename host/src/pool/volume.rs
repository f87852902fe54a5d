//! Which blocks of a volume its guest holds, and where their contents lie.
//!
//! Requests look this up for every block, so a lookup takes no lock: one bit says whether the guest
//! holds a block, another whether it was ever written, and only a written block is mapped to a
//! physical block.
//!
//! Blocks come in *windows* of [`REGION`]. A window lies in one region of the pool, each block at
//! its own offset there, as long as that is possible: its map is then the number of the region.
//! Where the pool has no whole region left, or the physical block that a block should have is
//! another's, the window has a table with a physical block for each block.
//!
//! ```text
//!             first write           a physical block is another's
//!   (no home) ───────────▶ linear ───────────────────────▶ table
//!       ▲                     │                              │
//!       └─────────────────────┴──────────────────────────────┘
//!           nothing written any more, at the next first write
//! ```
//!
//! Memory: 5.5 bits a block, and 4 bytes more in windows that ever had a table.
//!
//! Locking: the map changes under the lock of the pool's [`Allocator`], which is why changes want a
//! `&mut Allocator`; the granted bits change under the lock of the device. Only the thread that
//! serves the volume's requests allocates, so for that thread the map of a held block stands still
//! while it looks.

mod window;

use std::sync::atomic::{AtomicU64, Ordering};

use vssd::block_set::{BlockSet, spans};
use vssd::encoding::SetView;

use self::window::{NOWHERE, TABLE, WINDOW_WORDS, Window};
pub use self::window::{PhysicalBlocks, WindowMap};
use super::allocator::{Allocator, Denied, Fate, REGION, VolumeId};
use super::quiescence::Quiescence;

/// Blocks in a row that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block.
    pub first: u32,
    /// Number of blocks, not 0.
    pub count: u32,
    /// First of as many physical blocks in a row; `None` when no block was ever written.
    pub physical: Option<u32>,
}

/// Written blocks in a row, at physical blocks in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First block.
    pub block: u32,
    /// First physical block.
    pub physical: u32,
    /// How many.
    pub count: u32,
}

/// The map of one volume.
#[derive(Debug)]
pub struct Volume {
    id: VolumeId,
    capacity: u32,
    granted: Box<[AtomicU64]>,
    windows: Box<[Window]>,
    quiescence: Quiescence,
}

impl Volume {
    /// A volume of `capacity` blocks, none held.
    pub fn new(id: VolumeId, capacity: u32) -> Self {
        let zeros = |count: u32| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            id,
            capacity,
            granted: zeros(capacity.div_ceil(64)),
            windows: (0..capacity.div_ceil(REGION))
                .map(|_| Window::new())
                .collect(),
            quiescence: Quiescence::default(),
        }
    }

    /// Its number.
    pub fn id(&self) -> VolumeId {
        self.id
    }

    /// Blocks at full size.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The requests at work on it.
    pub fn quiescence(&self) -> &Quiescence {
        &self.quiescence
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.windows.iter().filter(|window| window.has_table());
        size_of_val(&*self.granted)
            + size_of_val(&*self.windows)
            + tables.count() * REGION as usize * size_of::<u32>()
    }

    /// [DEV-1] Whether the guest holds all of `count` blocks from `first` on.
    /// They must lie in the volume.
    #[inline]
    pub fn holds(&self, first: u32, count: u32) -> bool {
        spans(first, count)
            .all(|(index, bits)| self.granted[index].load(Ordering::Relaxed) & bits == bits)
    }

    /// The blocks that the guest holds.
    pub fn held(&self) -> BlockSet {
        let words = self.granted.iter().map(|w| w.load(Ordering::Relaxed));
        BlockSet::from_words(self.capacity, words.collect())
    }

    /// The guest holds exactly `blocks`, as a recovery found.
    pub fn restore_held(&self, blocks: &BlockSet) {
        for (word, run) in blocks.runs().flat_map(|run| spans(run.start, run.len)) {
            let granted = &self.granted[word];
            granted.store(granted.load(Ordering::Relaxed) | run, Ordering::Relaxed);
        }
    }

    /// The guest may use `blocks`.
    pub fn allow(&self, blocks: &SetView<'_>) {
        blocks.for_each_word(|index, bits| {
            let word = &self.granted[index];
            word.store(word.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
        });
    }

    /// The guest may not use `blocks`. When this returns, no request that was admitted before is at
    /// work any more.
    pub fn forbid(&self, blocks: &SetView<'_>) {
        blocks.for_each_word(|index, bits| {
            let word = &self.granted[index];
            word.store(word.load(Ordering::Relaxed) & !bits, Ordering::Relaxed);
        });
        self.quiescence.wait();
    }

    fn window(&self, block: u32) -> (&Window, u32) {
        (&self.windows[(block / REGION) as usize], block % REGION)
    }

    /// At most `most` blocks from `first` on, of one word, that are alike.
    fn stretch(&self, first: u32, most: u32) -> Extent {
        let (window, offset) = self.window(first);
        let bit = offset % 64;
        let word = window.written[(offset / 64) as usize].load(Ordering::Acquire) >> bit;
        let most = most.min(64 - bit);
        if word & 1 == 0 {
            return Extent {
                first,
                count: word.trailing_zeros().min(most),
                physical: None,
            };
        }
        let written = word.trailing_ones().min(most);
        let physical = window.physical(offset);
        let count = match window.home.load(Ordering::Relaxed) {
            TABLE => {
                let table = &window.table()[offset as usize..][..written as usize];
                let in_row = table.iter().zip(physical..);
                in_row
                    .take_while(|(entry, next)| entry.load(Ordering::Relaxed) == *next)
                    .count() as u32
            }
            _ => written,
        };
        Extent {
            first,
            count,
            physical: Some(physical),
        }
    }

    /// The blocks of a range as extents, each as long as possible.
    pub fn extents(&self, first: u32, count: u32) -> impl Iterator<Item = Extent> + '_ {
        let (mut at, end) = (first, first + count);
        std::iter::from_fn(move || {
            if at == end {
                return None;
            }
            let mut extent = self.stretch(at, end - at);
            at += extent.count;
            while at < end {
                let next = self.stretch(at, end - at);
                let follows = match (extent.physical, next.physical) {
                    (None, None) => true,
                    (Some(physical), Some(next)) => physical + extent.count == next,
                    _ => false,
                };
                if !follows {
                    break;
                }
                extent.count += next.count;
                at += next.count;
            }
            Some(extent)
        })
    }

    /// Finds a physical block for the first write of `block`, which is not visible before
    /// [`map`](Self::map).
    pub fn allocate(&self, allocator: &mut Allocator, block: u32) -> Result<u32, Denied> {
        allocator.may_own(self.id)?;
        let (window, offset) = self.window(block);
        if window.is_unused() {
            let before = (block / REGION).checked_sub(1);
            let home = before.map(|w| self.windows[w as usize].home.load(Ordering::Relaxed));
            let next = home.filter(|home| *home < NOWHERE).map(|h| h / REGION + 1);
            let region = allocator.whole_region(next);
            let home = region.map_or(NOWHERE, |region| region * REGION);
            window.home.store(home, Ordering::Relaxed);
        }
        let home = window.home.load(Ordering::Relaxed);
        let physical = match home {
            TABLE | NOWHERE => None,
            home => Some(home + offset).filter(|physical| allocator.take(self.id, *physical)),
        };
        let physical = physical.unwrap_or_else(|| {
            if home != TABLE {
                window.use_table();
            }
            let before = block.checked_sub(1).map(|before| self.stretch(before, 1));
            let wanted = before.and_then(|b| b.physical).map(|physical| physical + 1);
            let physical = allocator
                .find_free(wanted)
                .expect("there are free physical blocks");
            assert!(
                allocator.take(self.id, physical),
                "the physical block was free"
            );
            physical
        });
        let pending = window.pending.load(Ordering::Relaxed);
        window.pending.store(pending + 1, Ordering::Relaxed);
        Ok(physical)
    }

    fn no_longer_pending(&self, block: u32) -> (&Window, u32) {
        let (window, offset) = self.window(block);
        let pending = window.pending.load(Ordering::Relaxed);
        window.pending.store(pending - 1, Ordering::Relaxed);
        (window, offset)
    }

    /// The first write of `block` to its allocated physical block is done.
    pub fn map(&self, _allocator: &mut Allocator, block: u32, physical: u32) {
        let (window, offset) = self.no_longer_pending(block);
        self.put(window, offset, physical);
    }

    fn put(&self, window: &Window, offset: u32, physical: u32) {
        match window.home.load(Ordering::Relaxed) {
            TABLE => window.table()[offset as usize].store(physical, Ordering::Relaxed),
            home => assert_eq!(physical, home + offset, "a linear window with a stray"),
        }
        let word = &window.written[(offset / 64) as usize];
        let bits = word.load(Ordering::Relaxed) | 1 << (offset % 64);
        word.store(bits, Ordering::Release);
    }

    /// The first write of `block` to its allocated physical block failed.
    pub fn abandon(&self, allocator: &mut Allocator, block: u32, physical: u32) {
        self.no_longer_pending(block);
        give(allocator, self.id, physical, Fate::Free);
    }

    /// Those of `blocks` that may have been written, as words of a bitmap: windows without any are
    /// skipped.
    pub fn for_each_mapped(&self, blocks: &SetView<'_>, mut each: impl FnMut((usize, u64))) {
        let (mut last, mut blank) = (usize::MAX, true);
        blocks.for_each_word(|index, bits| {
            let window = index / WINDOW_WORDS;
            if window != last {
                (last, blank) = (window, self.windows[window].is_blank());
            }
            if !blank {
                each((index, bits));
            }
        });
    }

    /// Gives up the physical blocks of those blocks of word `index` that are written
    /// and in `bits`; returns which were. No request may be in flight on them.
    pub fn unmap(&self, allocator: &mut Allocator, (index, bits): (usize, u64), fate: Fate) -> u64 {
        let window = &self.windows[index / WINDOW_WORDS];
        let at = index % WINDOW_WORDS;
        let written = window.written[at].load(Ordering::Relaxed);
        let gone = written & bits;
        if gone == 0 {
            return 0;
        }
        match window.home.load(Ordering::Relaxed) {
            TABLE => {
                let (first, table) = (at * 64, window.table());
                let mut physical_blocks = Gather::default();
                for bit in BitsOf(gone) {
                    let physical = table[first + bit as usize].load(Ordering::Relaxed);
                    if let Some(word) = physical_blocks.add(physical) {
                        allocator.give(self.id, word, fate);
                    }
                }
                if let Some(word) = physical_blocks.take() {
                    allocator.give(self.id, word, fate);
                }
            }
            home => allocator.give(self.id, ((home / 64) as usize + at, gone), fate),
        }
        window.written[at].store(written & !gone, Ordering::Release);
        gone
    }

    /// Puts blocks of one window, found written by a recovery, into the map.
    pub fn restore(&self, allocator: &mut Allocator, runs: &[Run]) {
        for run in runs {
            self.restore_run(allocator.physical_blocks(), run);
        }
        allocator.restore(self.id, runs.iter().map(|run| (run.physical, run.count)));
    }

    fn restore_run(&self, physical_blocks: u32, run: &Run) {
        let (window, offset) = self.window(run.block);
        let home = window.home.load(Ordering::Relaxed);
        let linear = run.physical.checked_sub(offset);
        // The last region may be cut short; no window has its home there.
        let linear = linear.filter(|home| {
            home.is_multiple_of(REGION) && home.saturating_add(REGION) <= physical_blocks
        });
        if home == NOWHERE
            && let Some(home) = linear
        {
            window.home.store(home, Ordering::Relaxed);
        } else if home != TABLE && linear != Some(home) {
            window.use_table();
        }
        if window.home.load(Ordering::Relaxed) == TABLE {
            let entries = &window.table()[offset as usize..(offset + run.count) as usize];
            for (entry, physical) in entries.iter().zip(run.physical..) {
                entry.store(physical, Ordering::Relaxed);
            }
        }
        for (word, bits) in spans(offset, run.count) {
            let written = &window.written[word];
            written.store(written.load(Ordering::Relaxed) | bits, Ordering::Release);
        }
    }

    /// What window `index` holds of blocks that the guest holds; `None` when
    /// nothing of that is written.
    pub fn window_map(&self, _allocator: &Allocator, index: u32) -> Option<WindowMap> {
        let window = self.windows.get(index as usize)?;
        let first = index as usize * WINDOW_WORDS;
        let written = std::array::from_fn(|i| {
            let granted = self.granted.get(first + i);
            let granted = granted.map_or(0, |word| word.load(Ordering::Relaxed));
            window.written[i].load(Ordering::Relaxed) & granted
        });
        if written == [0; WINDOW_WORDS] {
            return None;
        }
        let physical_blocks = match window.home.load(Ordering::Relaxed) {
            TABLE => {
                let offsets = (0..).step_by(64).zip(written);
                let offsets = offsets.flat_map(|(first, w)| BitsOf(w).map(move |b| first + b));
                PhysicalBlocks::Table(offsets.map(|offset| window.physical(offset)).collect())
            }
            home => PhysicalBlocks::Linear(home),
        };
        Some(WindowMap {
            written,
            physical_blocks,
        })
    }

    /// The number of windows.
    pub fn windows(&self) -> u32 {
        self.windows.len() as u32
    }
}

fn give(allocator: &mut Allocator, id: VolumeId, physical: u32, fate: Fate) {
    allocator.give(id, ((physical / 64) as usize, 1 << (physical % 64)), fate);
}

/// The numbers of the bits of a word that are set.
struct BitsOf(u64);

impl Iterator for BitsOf {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        (self.0 != 0).then(|| {
            self.0 &= self.0 - 1;
            bit
        })
    }
}

/// Collects physical blocks that are in the same word of a bitmap.
#[derive(Default)]
struct Gather {
    index: usize,
    bits: u64,
}

impl Gather {
    /// Adds a physical block; returns the word before if this is another.
    fn add(&mut self, physical: u32) -> Option<(usize, u64)> {
        let index = (physical / 64) as usize;
        let full = if index == self.index {
            None
        } else {
            self.take()
        };
        self.index = index;
        self.bits |= 1 << (physical % 64);
        full
    }

    fn take(&mut self) -> Option<(usize, u64)> {
        let bits = std::mem::take(&mut self.bits);
        (bits != 0).then_some((self.index, bits))
    }
}
