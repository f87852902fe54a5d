//! The fast device of a stock dm-cache. dm-cache cannot be asked which of its blocks it misses
//! least, but its fast device can be made shorter: so its tail goes.
//!
//! ```text
//!            Idle ──── shrink ────▶ Cleaning: policy `cleaner`, until nothing is dirty
//!             ▲                        │
//!             └── reload shorter ◀─────┘ or cancelled: the old policy again
//!
//!  reload:  suspend cache ─ load, suspend, resume data device ─ load, resume cache
//! ```
//!
//! A cache of which nothing is dirty, as a write-through one, is reloaded at once.
//!
//! The data device is a linear device mapper target on the vSSD, because dm-cache takes the size of
//! the device for that of the cache. All of it that is dirty is written back before, not the tail
//! alone: stock dm-cache has no other way.
//!
//! An agent that dies may leave the cache with the policy `cleaner`, or suspended; the next one
//! repairs both before anything else. The full length is kept in a file that lives as long as the
//! device does, until the guest is switched off.
//!
//! - [`table`]: tables and states as text; [`linux`]: the device mapper of a guest

pub mod linux;
pub mod table;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use vssd::block_set::BlockSet;
use vssd::units::Geometry;

use self::table::{CLEANER, CacheTable, DEFAULT_POLICY, dirty};
use crate::disk::Target;
use crate::error::{Error, Result};
use crate::log;
use crate::size::Bytes;
use crate::source::{Choice, Source, View};

/// How often to look whether anything is dirty.
const LOOK: Duration = Duration::from_millis(200);

const SECTOR: u64 = 512;

/// One of the two devices that change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The cache.
    Cache,
    /// Its fast device.
    Data,
}

/// What is needed of the device mapper.
pub trait CacheMapper {
    /// The table of a device.
    fn table(&mut self, part: Part) -> Result<Vec<Target>>;
    /// The state of the cache.
    fn status(&mut self) -> Result<Vec<Target>>;
    /// Whether a device is suspended.
    fn is_suspended(&mut self, part: Part) -> Result<bool>;
    /// Loads a table for the next resume.
    fn load(&mut self, part: Part, table: &[Target]) -> Result<()>;
    /// Forgets a table that was loaded.
    fn clear(&mut self, part: Part) -> Result<()>;
    /// Ends what is on its way, and lets what comes wait.
    fn suspend(&mut self, part: Part) -> Result<()>;
    /// Goes on, with the table that was loaded.
    fn resume(&mut self, part: Part) -> Result<()>;
    /// Sectors of the data device at its full length, when an agent has shortened it.
    fn full_sectors(&mut self) -> Result<Option<u64>>;
    /// Keeps that, before the device is shortened.
    fn keep_full_sectors(&mut self, sectors: u64) -> Result<()>;
}

/// Where the data device lies on the vSSD: in one piece.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The shape of the vSSD.
    pub geometry: Geometry,
    /// The byte of the vSSD at which the data device begins.
    pub base: u64,
    /// Bytes that it may have there.
    pub room: u64,
    /// Ranges of the vSSD that are never given up.
    pub keep_out: Vec<Range<u64>>,
}

/// See the module.
#[derive(Debug)]
pub struct CacheDisk<M> {
    mapper: M,
    shape: Shape,
    /// The policy to return to, while the cache is being cleaned.
    cleaning: Option<String>,
}

impl<M: CacheMapper> CacheDisk<M> {
    /// The cache of these devices.
    pub fn new(mapper: M, shape: Shape) -> Self {
        Self {
            mapper,
            shape,
            cleaning: None,
        }
    }

    fn cache_table(&mut self) -> Result<CacheTable> {
        CacheTable::parse(&self.mapper.table(Part::Cache)?)
            .ok_or_else(|| Error::Failed("the table of the cache is no dm-cache's".to_owned()))
    }

    /// The one target of the data device.
    fn data_target(&mut self) -> Result<Target> {
        let mut table = self.mapper.table(Part::Data)?;
        match (table.pop(), table.pop()) {
            (Some(target), None) if target.kind == "linear" => Ok(target),
            _ => Err(Error::Failed(
                "the fast device of the cache is no longer one linear target".to_owned(),
            )),
        }
    }

    fn full_sectors(&mut self) -> Result<u64> {
        let present = self.data_target()?.len;
        let kept = self.mapper.full_sectors()?.unwrap_or(present);
        Ok(kept.max(present).min(self.shape.room / SECTOR))
    }

    fn dirty(&mut self) -> Result<u64> {
        let status = self.mapper.status()?;
        dirty(&status).ok_or_else(|| {
            let state = status.first().map_or("", |target| target.params.as_str());
            Error::Failed(format!("the cache does not say what is dirty: `{state}`"))
        })
    }

    /// Blocks of the vSSD that lie within these sectors of the data device, as a whole.
    fn blocks_of(&self, sectors: Range<u64>) -> BlockSet {
        let mut blocks = BlockSet::empty(self.shape.geometry.capacity());
        let block = u64::from(self.shape.geometry.block_size());
        let start = (self.shape.base + sectors.start * SECTOR).div_ceil(block);
        let end = (self.shape.base + sectors.end * SECTOR) / block;
        if start < end {
            blocks.insert_range(start as u32, (end - start) as u32);
        }
        blocks
    }

    /// Blocks behind the end of the data device, up to its full length, that can be given up.
    fn surplus(&mut self, held: &BlockSet) -> Result<BlockSet> {
        let present = self.data_target()?.len;
        let full = self.full_sectors()?;
        let mut blocks = self.blocks_of(present..full);
        blocks.intersect(held);
        let block = u64::from(self.shape.geometry.block_size());
        for range in &self.shape.keep_out {
            let start = (range.start / block) as u32;
            let end = (range.end.div_ceil(block) as u32).min(blocks.capacity());
            if start < end {
                blocks.remove_range(start, end - start);
            }
        }
        Ok(blocks)
    }

    /// Sectors from the start of the data device up to the first block that is not held, a whole
    /// number of blocks of the cache.
    fn usable_sectors(&mut self, held: &BlockSet, cache_block: u64) -> Result<u64> {
        let full = self.full_sectors()?;
        let block = u64::from(self.shape.geometry.block_size());
        let first = (self.shape.base / block) as u32;
        let missing = held.next_out(first).unwrap_or(held.capacity());
        let usable = (u64::from(missing) * block).saturating_sub(self.shape.base) / SECTOR;
        Ok(if usable >= full {
            full
        } else {
            usable / cache_block * cache_block
        })
    }

    fn set_policy(&mut self, table: &CacheTable, policy: &str) -> Result<()> {
        let table = table.with_policy(policy).to_table();
        self.mapper.load(Part::Cache, &table)?;
        self.mapper.suspend(Part::Cache)?;
        self.mapper.resume(Part::Cache)
    }

    /// Gives the data device another length. Blocks of the cache behind it must be clean. False when
    /// some have become dirty since.
    fn resize(&mut self, sectors: u64, cache: &CacheTable) -> Result<bool> {
        let data = self.data_target()?;
        self.mapper.suspend(Part::Cache)?;
        if sectors < data.len && self.dirty()? > 0 {
            self.mapper.resume(Part::Cache)?;
            return Ok(false);
        }
        let changed = self.replace_data(Target {
            len: sectors,
            ..data
        });
        // dm-cache looks how long the data device is when its table is loaded.
        let loaded = self.mapper.load(Part::Cache, &cache.to_table());
        self.mapper.resume(Part::Cache)?;
        changed.and(loaded).map(|()| true)
    }

    fn replace_data(&mut self, data: Target) -> Result<()> {
        self.mapper.load(Part::Data, &[data])?;
        self.mapper.suspend(Part::Data)?;
        self.mapper.resume(Part::Data)
    }

    /// Repairs what an agent left that died.
    fn recover(&mut self) -> Result<()> {
        let is_suspended =
            self.mapper.is_suspended(Part::Cache)? || self.mapper.is_suspended(Part::Data)?;
        let table = self.cache_table()?;
        let is_cleaning = table.policy == CLEANER && self.cleaning.is_none();
        if !is_suspended && !is_cleaning {
            return Ok(());
        }
        log::warn("an agent was ended while it resized the cache; the cache goes on");
        // A shorter table that was loaded, and not yet taken, must not be: the cache does not know.
        self.mapper.clear(Part::Data)?;
        self.mapper.resume(Part::Data)?;
        let policy = if is_cleaning {
            DEFAULT_POLICY
        } else {
            &table.policy
        };
        self.set_policy(&table, policy)
    }

    /// Has dirty blocks written back, and no more made dirty for long.
    fn clean(&mut self, table: CacheTable) -> Result<Option<()>> {
        if self.cleaning.is_none() {
            self.set_policy(&table, CLEANER)?;
            self.cleaning = Some(table.policy);
        }
        Ok(None)
    }

    /// The old policy again, when a shrink was cancelled.
    fn stop_cleaning(&mut self) -> Result<()> {
        let Some(policy) = self.cleaning.take() else {
            return Ok(());
        };
        let table = self.cache_table()?;
        self.set_policy(&table, &policy)
    }

    /// Shortens the data device by `count` blocks of the vSSD, as far as the cache can be that
    /// short. `None` when it has to be cleaned first.
    fn shorten(&mut self, count: u32) -> Result<Option<()>> {
        let table = self.cache_table()?;
        let cache_block = table.block_sectors;
        let present = self.data_target()?.len;
        let wanted = u64::from(count) * u64::from(self.shape.geometry.block_size()) / SECTOR;
        let left = present.saturating_sub(wanted) / cache_block * cache_block;
        let left = left.max(cache_block);
        if left >= present {
            return Ok(Some(()));
        }
        if self.dirty()? > 0 {
            return self.clean(table);
        }
        let policy = self.cleaning.as_ref().unwrap_or(&table.policy).clone();
        let full = self.full_sectors()?;
        self.mapper.keep_full_sectors(full)?;
        if !self.resize(left, &table.with_policy(&policy))? {
            return self.clean(table);
        }
        self.cleaning = None;
        let by = Bytes((present - left) * SECTOR);
        log::info(format_args!(
            "the fast device of the cache is shorter by {by}"
        ));
        Ok(Some(()))
    }
}

impl<M: CacheMapper> Source for CacheDisk<M> {
    fn listed(&mut self, view: View<'_>) -> Result<()> {
        self.recover()?;
        self.lost(view)
    }

    fn choose(&mut self, held: &BlockSet, count: u32) -> Result<Choice> {
        let surplus = self.surplus(held)?;
        if !surplus.is_empty() {
            return Ok(Choice::Some(surplus.last(count)));
        }
        if self.shorten(count)?.is_none() {
            return Ok(Choice::Later(LOOK));
        }
        let surplus = self.surplus(held)?;
        Ok(if surplus.is_empty() {
            Choice::Last(surplus)
        } else {
            Choice::Some(surplus.last(count))
        })
    }

    fn release(&mut self, held: &BlockSet) -> Result<()> {
        self.stop_cleaning()?;
        let table = self.cache_table()?;
        let present = self.data_target()?.len;
        let usable = self.usable_sectors(held, table.block_sectors)?;
        if usable > present {
            self.resize(usable, &table)?;
            let by = Bytes((usable - present) * SECTOR);
            log::info(format_args!(
                "the fast device of the cache is longer by {by}"
            ));
        }
        Ok(())
    }

    fn lost(&mut self, view: View<'_>) -> Result<()> {
        let table = self.cache_table()?;
        let present = self.data_target()?.len;
        let usable = self.usable_sectors(view.held, table.block_sectors)?;
        if usable >= present {
            return Ok(());
        }
        let by = Bytes((present - usable) * SECTOR);
        log::error(format_args!(
            "{by} at the end of the fast device of the cache are with the host: they were taken by \
             force, or the device was made anew at its full length. It is made shorter"
        ));
        self.mapper.keep_full_sectors(present)?;
        if usable < table.block_sectors || !self.resize(usable, &table)? {
            return Err(Error::Failed(
                "the cache has dirty blocks there, or no others: grow the vSSD at the host, or \
                 remove the cache and repair its origin"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
