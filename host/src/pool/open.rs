//! Creating a pool, and opening one from its journal.

use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

use super::allocator::{Allocator, Refusal};
use super::commit::Log;
use super::journal::{BootId, Journal, PoolImage};
use super::state::PoolState;
use super::volume::Volume;
use super::{Pool, PoolError, Shape, Volumes};
use crate::backing::Backing;
use crate::io::EngineName;

impl Pool {
    /// Creates a pool of that shape on `backing`, overwriting what is there.
    ///
    /// # Errors
    /// When the backing is too small or fails.
    pub fn create(
        backing: Arc<dyn Backing>,
        shape: Shape,
        engine: EngineName,
        boot: BootId,
    ) -> Result<Arc<Self>, PoolError> {
        let journal = Journal::create(backing.clone(), shape, boot)?;
        Self::start(backing, journal, &PoolImage::new(shape), engine)
    }

    /// Opens the pool on `backing`.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open(
        backing: Arc<dyn Backing>,
        engine: EngineName,
        boot: BootId,
    ) -> Result<Arc<Self>, PoolError> {
        let (journal, image) = Journal::open(backing.clone(), boot)?;
        if let Some(fault) = image.check(1).pop() {
            return Err(PoolError::Fault(fault));
        }
        Self::start(backing, journal, &image, engine)
    }

    /// Accepts a pool that two backends had at the same time, in the state of its newest records,
    /// and forgets the overlap.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn accept(backing: Arc<dyn Backing>, boot: BootId) -> Result<(), PoolError> {
        let (journal, image) = Journal::open_overlapped(backing.clone(), boot)?;
        if let Some(fault) = image.check(1).pop() {
            return Err(PoolError::Fault(fault));
        }
        let pool = Self::start(backing, journal, &image, EngineName::Sync)?;
        pool.forget_overlap()?;
        Ok(())
    }

    fn start(
        backing: Arc<dyn Backing>,
        journal: Journal,
        image: &PoolImage,
        engine: EngineName,
    ) -> Result<Arc<Self>, PoolError> {
        let shape = image.shape;
        let mut state = PoolState::new(
            Allocator::new(shape.physical_blocks, shape.overcommit_permille),
            true,
        );
        let mut volumes = Volumes {
            next: image.next,
            ..Volumes::default()
        };
        for (&id, found) in &image.volumes {
            let volume = Arc::new(Volume::new(id, found.blocks));
            let opened = state.allocator.open(id, found.bounds);
            opened.map_err(|denied| Refusal {
                denied,
                block_size: shape.block_size,
            })?;
            volume.restore_held(&found.held);
            state.allocator.hold(id, found.held.len());
            for runs in found.windows() {
                volume.restore(&mut state.allocator, &runs);
            }
            volumes.by_name.insert(found.name.clone(), volume);
        }
        let pool = Arc::new(Self {
            engine,
            block_size: shape.block_size,
            data: journal.data(),
            state: Mutex::new(state),
            punched: Condvar::new(),
            volumes: Mutex::new(volumes),
            alone: Mutex::default(),
            log: Some(Log::new(journal)),
            pace: OnceLock::new(),
            on_loss: OnceLock::new(),
            backing,
        });
        pool.start_commits()?;
        Ok(pool)
    }
}
