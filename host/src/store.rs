//! The region of one vSSD on the medium, and what changes of ownership do to it.
//!
//! Here a block of the vSSD lies at a fixed place of the medium. What makes
//! this correct for blocks that change hands is the order in [`Store::release`]:
//! first the old contents are made unreadable, then the change is recorded. A
//! backend killed between the two finds the blocks still held, and empty; it
//! never finds them free and full.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use vm_memory::VolatileSlice;
use vssd::block_set::{BlockSet, Run};
use vssd::device::Ownership;
use vssd::encoding::SetView;
use vssd::units::{Geometry, SECTOR_SIZE};

use crate::medium::Medium;
use crate::ownership::{Change, LogError, OwnershipLog};

/// The bytes of one vSSD.
pub struct Store {
    medium: Arc<dyn Medium>,
    log: OwnershipLog,
    geometry: Geometry,
    offset: u64,
    /// Blocks that may read as something else than zeros. Giving up a block
    /// that was never written costs nothing.
    data: BlockSet,
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The medium did.
    #[error("medium: {0}")]
    Medium(#[from] std::io::Error),
    /// The ownership log did.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Store {
    /// Opens the region at `offset` of `medium` with its log at `log_path`; a
    /// new vSSD starts with the blocks `fresh` held.
    pub fn open(
        medium: Arc<dyn Medium>,
        geometry: Geometry,
        offset: u64,
        log_path: &Path,
        fresh: &BlockSet,
    ) -> Result<Self, StoreError> {
        let log = OwnershipLog::open(log_path, geometry, offset, fresh)?;
        let mut data = BlockSet::empty(geometry.capacity());
        let block_size = u64::from(geometry.block_size());
        for found in medium.data(offset..offset + geometry.capacity_bytes())? {
            let first = (found.start - offset) / block_size;
            let end = (found.end - offset).div_ceil(block_size);
            data.insert_range(first as u32, (end - first) as u32);
        }
        let mut store = Self {
            medium,
            log,
            geometry,
            offset,
            data,
        };
        // Only a medium changed behind the backend's back has data in a block
        // that nobody holds.
        let mut strays = store.data.clone();
        strays.subtract(store.log.held());
        for run in strays.runs() {
            store.discard(run.start, run.len)?;
        }
        Ok(store)
    }

    /// The blocks that the guest holds by the log.
    pub fn held(&self) -> &BlockSet {
        self.log.held()
    }

    fn range(&self, first: u32, count: u32) -> Range<u64> {
        let block_size = u64::from(self.geometry.block_size());
        let start = self.offset + u64::from(first) * block_size;
        start..start + u64::from(count) * block_size
    }

    fn at(&self, sector: u64) -> u64 {
        self.offset + sector * u64::from(SECTOR_SIZE)
    }

    /// Reads from `sector` on; the caller has checked the range.
    pub fn read(&self, sector: u64, buffers: &[VolatileSlice<'_>]) -> std::io::Result<()> {
        self.medium.read(self.at(sector), buffers)
    }

    /// Writes `blocks`, as first and count, from `sector` on; the caller has
    /// checked that they go together.
    pub fn write(
        &mut self,
        sector: u64,
        blocks: (u32, u32),
        buffers: &[VolatileSlice<'_>],
    ) -> std::io::Result<()> {
        self.data.insert_range(blocks.0, blocks.1);
        self.medium.write(self.at(sector), buffers)
    }

    /// Makes `bytes` bytes from `sector` on read as zeros.
    pub fn zero(&mut self, sector: u64, bytes: u64) -> std::io::Result<()> {
        let start = self.at(sector);
        self.medium.discard(start..start + bytes)
    }

    /// Makes earlier writes durable.
    pub fn flush(&self) -> std::io::Result<()> {
        self.medium.flush()
    }

    /// Discards what is in `blocks`. Runs with nothing but holes between them go
    /// together: a call costs microseconds, whatever its length.
    fn make_unreadable(&mut self, blocks: &SetView<'_>) -> std::io::Result<()> {
        if self.data.is_empty() {
            return Ok(());
        }
        let mut doomed = BlockSet::empty(self.geometry.capacity());
        doomed.insert_view(blocks);
        doomed.intersect(&self.data);
        let mut span: Option<Run> = None;
        for run in doomed.runs() {
            span = match span {
                Some(open)
                    if !self
                        .data
                        .intersects_range(open.end(), run.start - open.end()) =>
                {
                    Some(Run {
                        start: open.start,
                        len: run.end() - open.start,
                    })
                }
                Some(open) => {
                    self.discard(open.start, open.len)?;
                    Some(run)
                }
                None => Some(run),
            };
        }
        match span {
            Some(open) => self.discard(open.start, open.len),
            None => Ok(()),
        }
    }

    fn discard(&mut self, first: u32, count: u32) -> std::io::Result<()> {
        self.medium.discard(self.range(first, count))?;
        self.data.remove_range(first, count);
        Ok(())
    }
}

impl Ownership for Store {
    type Error = StoreError;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), StoreError> {
        let result = self
            .make_unreadable(blocks)
            .map_err(StoreError::from)
            .and_then(|()| Ok(self.log.append(Change::Release, blocks)?));
        logged(result)
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), StoreError> {
        logged(
            self.log
                .append(Change::Grant, blocks)
                .map_err(StoreError::from),
        )
    }
}

/// Says why ownership cannot change: the guest is told only that it cannot.
fn logged(result: Result<(), StoreError>) -> Result<(), StoreError> {
    if let Err(error) = &result {
        tracing::error!(%error, "a change of ownership could not be recorded; the resize ends");
    }
    result
}
