//! A pool: one backing shared by the vSSDs of many virtual machines.
//!
//! The backing's data area is cut into *physical blocks* of one block each. A *volume* is the
//! storage of one vSSD: it maps the device's blocks to physical blocks, each when it is first
//! written. The *allocator* records the owner of each physical block and how many more each volume
//! may hold. Reads and writes look only at their own volume's map, which is made of atomic words;
//! every change of ownership happens under the lock of the [`PoolState`], and is in the pool's
//! *log* before it is reported.
//!
//! ```text
//!   requests of a vSSD ── Volume (map, granted bits) ── physical blocks of the backing
//!                            │ first writes, discards
//!   resizes ─────────────▶ PoolState (allocator, deltas) ──▶ log ──▶ the backing's journal
//! ```
//!
//! - [`allocator`], [`volume`], [`quiescence`], [`state`]: maps and their bookkeeping, without I/O
//! - [`journal`]: the durable state, on the backing itself
//! - `open`: creating and opening a pool
//! - [`group_commit`], `commit`: commits to the journal, and waiting for them
//! - [`punch`]: giving the space of free physical blocks back to the backing's file system
//! - `store`: changes of ownership that a vSSD's device decides

pub mod allocator;
mod commit;
pub mod group_commit;
pub mod journal;
mod open;
pub mod punch;
pub mod quiescence;
pub mod state;
mod store;
pub mod volume;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod grant_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};
use vssd::block_set::BlockSet;
use vssd::encoding::SetView;
use vssd::units::Geometry;

use self::allocator::{Account, Allocator, Bounds, Denied, Refusal, Usage, VolumeId};
use self::commit::Log;
pub use self::group_commit::{PendingCommit, Strength, Subscription};
use self::journal::layout;
use self::journal::{Fault, JournalError};
use self::state::PoolState;
pub use self::store::Store;
use self::volume::{Extent, Volume};
use crate::backing::{Alignment, Backing, Room};
use crate::emulation::{MediaKind, MediaModel, TooLarge, Wear};
use crate::io::immediate::Immediate;
use crate::io::paced::{Pace, Paced};
use crate::io::uring::Uring;
use crate::io::{Engine, EngineName};
use crate::latency::{Activity, Latency};
use crate::size::Blocks;

/// Why an operation on a pool failed.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The allocator refused.
    #[error(transparent)]
    Denied(#[from] Refusal),
    /// The system refused something.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The journal cannot be written or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal contradicts itself.
    #[error("the pool is damaged: {0}; see `vssdctl pool check`")]
    Fault(Fault),
    /// There is a volume of that name already.
    #[error("the pool has a vSSD called {0} already")]
    Exists(String),
    /// There is none of that name.
    #[error("the pool has no vSSD called {0}")]
    Unknown(String),
    /// It has another size.
    #[error("vSSD {name} has {have} in this pool, not {wanted}")]
    Size {
        /// Its name.
        name: String,
        /// Its blocks.
        have: Blocks,
        /// Blocks asked for.
        wanted: Blocks,
    },
}

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes in a block.
    pub block_size: u32,
    /// Physical blocks in it.
    pub physical_blocks: u32,
    /// Thousandths of these that may be committed to volumes.
    pub overcommit_permille: u32,
}

impl Shape {
    /// Whether a pool can have this shape.
    pub fn is_possible(&self) -> bool {
        Geometry::new(self.block_size, self.physical_blocks.into()).is_ok()
    }

    /// Bytes of all physical blocks.
    pub fn data_len(&self) -> u64 {
        u64::from(self.physical_blocks) * u64::from(self.block_size)
    }

    /// Bytes that a pool of this shape takes on its backing.
    pub fn backing_len(&self) -> u64 {
        self.room().len
    }

    /// What a pool of this shape needs of its backing.
    pub fn room(&self) -> Room {
        layout::room(*self)
    }
}

/// A volume of a pool, as it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Blocks at full size.
    pub capacity: u32,
    /// What it may use and uses.
    pub account: Account,
}

/// See the module.
pub struct Pool {
    backing: Arc<dyn Backing>,
    engine: EngineName,
    block_size: u32,
    /// Where the physical blocks begin on the backing, bytes.
    data: u64,
    state: Mutex<PoolState>,
    /// A hole was punched, and where it is, physical blocks are free again.
    punched: Condvar,
    volumes: Mutex<Volumes>,
    /// Held while volumes come, change or go.
    alone: Mutex<()>,
    /// `None` for a pool that is not durable.
    log: Option<Log>,
    /// Set where a slower medium is emulated.
    pace: OnceLock<Arc<Pace>>,
    /// What to do when another backend has taken it over.
    on_loss: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Volumes {
    by_name: BTreeMap<String, Arc<Volume>>,
    next: u32,
}

impl Pool {
    /// A pool that ends with this process, on all of `backing`.
    pub fn volatile(backing: Arc<dyn Backing>, block_size: u32, overcommit_permille: u32) -> Self {
        let physical_blocks = backing.len() / u64::from(block_size);
        let physical_blocks = u32::try_from(physical_blocks).unwrap_or(u32::MAX - 1);
        Self {
            engine: EngineName::Sync,
            block_size,
            data: 0,
            state: Mutex::new(PoolState::new(
                Allocator::new(physical_blocks, overcommit_permille),
                false,
            )),
            punched: Condvar::new(),
            volumes: Mutex::default(),
            alone: Mutex::default(),
            log: None,
            pace: OnceLock::new(),
            on_loss: OnceLock::new(),
            backing,
        }
    }

    /// Bytes in a block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The alignment that the backing needs of buffers and offsets.
    pub fn alignment(&self) -> Alignment {
        self.backing.alignment()
    }

    /// Whether what was written can be read.
    pub fn keeps_data(&self) -> bool {
        self.backing.keeps_data()
    }

    /// Where a physical block is on the backing, bytes.
    pub fn offset(&self, physical: u32) -> u64 {
        self.data + u64::from(physical) * u64::from(self.block_size)
    }

    /// Makes requests take as long as on a medium of that kind, in all engines made from now on.
    ///
    /// # Errors
    /// When the backing is too large to emulate.
    pub fn emulate(&self, kind: MediaKind) -> Result<(), TooLarge> {
        let model = MediaModel::new(kind, self.backing.len())?;
        self.pace.get_or_init(|| Arc::new(Pace::new(model)));
        Ok(())
    }

    /// The wear of the emulated medium.
    pub fn wear(&self) -> Option<Wear> {
        self.pace.get().map(|pace| pace.wear())
    }

    /// A new engine on the backing.
    ///
    /// # Errors
    /// When the system refuses what it needs.
    pub fn engine(&self) -> io::Result<Box<dyn Engine>> {
        let engine: Box<dyn Engine> = match (self.engine, self.backing.file()) {
            (EngineName::Uring, Some(file)) => Box::new(Uring::new(file, &self.backing.claim())?),
            _ => Box::new(Immediate::new(self.backing.clone())),
        };
        Ok(match self.pace.get() {
            Some(pace) => Box::new(Paced::new(engine, pace.clone())?),
            None => engine,
        })
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock()
    }

    /// The pool state, for a request; a wait for its lock is counted.
    pub fn state_for_io(
        &self,
        latency: &mut Latency,
        activity: Activity,
    ) -> MutexGuard<'_, PoolState> {
        if let Some(state) = self.state.try_lock() {
            return state;
        }
        let began = Instant::now();
        let state = self.state();
        latency.stalled(activity, began.elapsed().as_nanos() as u64);
        state
    }

    /// Abandons the first writes of these blocks to their physical blocks.
    pub fn abandon(&self, volume: &Volume, fresh: &[Extent]) {
        let mut state = self.state();
        for extent in fresh {
            state.abandon(volume, *extent);
        }
    }

    #[cfg(test)]
    fn assert_consistent(&self) {
        self.state().allocator.assert_consistent();
    }

    /// Its usage.
    pub fn usage(&self) -> Usage {
        self.state().allocator.usage()
    }

    /// What a volume may use and uses; `None` once it is deleted.
    pub fn account(&self, volume: &Volume) -> Option<Account> {
        self.state().allocator.find(volume.id())
    }

    /// Makes sure that a volume may hold `more` blocks more.
    pub fn may_hold(&self, volume: &Volume, more: u32) -> Result<(), Refusal> {
        let allowed = self.state().allocator.may_hold(volume.id(), more);
        allowed.map_err(|denied| self.refusal(denied))
    }

    fn refusal(&self, denied: Denied) -> Refusal {
        Refusal {
            denied,
            block_size: self.block_size,
        }
    }

    /// The volumes that it has.
    pub fn members(&self) -> Vec<Member> {
        let volumes: Vec<_> = {
            let volumes = self.volumes();
            let all = volumes.by_name.iter();
            all.map(|(name, volume)| (name.clone(), volume.clone()))
                .collect()
        };
        let allocator = &self.state().allocator;
        let members = volumes.into_iter().filter_map(|(name, volume)| {
            Some(Member {
                name,
                capacity: volume.capacity(),
                account: allocator.find(volume.id())?,
            })
        });
        members.collect()
    }

    /// The volume called `name`, if it has one.
    pub fn member(&self, name: &str) -> Option<Member> {
        let volume = self.volumes().by_name.get(name).cloned()?;
        Some(Member {
            name: name.to_owned(),
            capacity: volume.capacity(),
            account: self.state().allocator.find(volume.id())?,
        })
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock()
    }

    fn volumes(&self) -> MutexGuard<'_, Volumes> {
        self.volumes.lock()
    }

    /// A new volume of `capacity` blocks, of which the first `held` are held.
    ///
    /// # Errors
    /// When it does not fit, its name is taken, or it could not be recorded.
    pub fn add(
        &self,
        name: &str,
        capacity: u32,
        bounds: Bounds,
        held: u32,
    ) -> Result<Arc<Volume>, PoolError> {
        let _alone = self.alone();
        if self.volumes().by_name.contains_key(name) {
            return Err(PoolError::Exists(name.to_owned()));
        }
        let geometry = Geometry::new(self.block_size, capacity.into()).map_err(io::Error::other)?;
        let id = VolumeId(self.volumes().next);
        let volume = Arc::new(Volume::new(id, capacity));
        let opened = self.state().allocator.open(id, bounds);
        opened.map_err(|denied| self.refusal(denied))?;
        if let Err(refusal) = self.promise(id, held) {
            self.state().allocator.close(id);
            return Err(refusal.into());
        }
        let mut blocks = BlockSet::empty(capacity);
        blocks.insert_range(0, held);
        self.record(
            |batch| {
                batch.volume(id, capacity, bounds, name);
                commit::granted(batch, id, &blocks, geometry);
            },
            |_| {
                volume.restore_held(&blocks);
                let mut volumes = self.volumes();
                volumes.next += 1;
                volumes.by_name.insert(name.to_owned(), volume.clone());
            },
            || {
                let allocator = &mut self.state().allocator;
                allocator.let_go(id, held);
                allocator.close(id);
            },
        )?;
        Ok(volume)
    }

    /// The volume called `name`, if there is one, with other bounds where given.
    ///
    /// # Errors
    /// When it has another size, the bounds do not fit, or could not be recorded.
    pub fn attach(
        &self,
        name: &str,
        capacity: u32,
        quota: Option<u32>,
        reservation: Option<u32>,
    ) -> Result<Option<Arc<Volume>>, PoolError> {
        let _alone = self.alone();
        let Some(volume) = self.volumes().by_name.get(name).cloned() else {
            return Ok(None);
        };
        if volume.capacity() != capacity {
            let blocks = |count: u32| Blocks {
                count: count.into(),
                block_size: self.block_size,
            };
            return Err(PoolError::Size {
                name: name.to_owned(),
                have: blocks(volume.capacity()),
                wanted: blocks(capacity),
            });
        }
        let id = volume.id();
        let account = self.account(&volume);
        let old = account
            .ok_or_else(|| PoolError::Unknown(name.to_owned()))?
            .bounds;
        let bounds = Bounds {
            quota: quota.unwrap_or(old.quota),
            reservation: reservation.unwrap_or(old.reservation),
        };
        if bounds != old {
            let set = self.state().allocator.set_bounds(id, bounds);
            set.map_err(|denied| self.refusal(denied))?;
            self.record(
                |batch| batch.volume(id, capacity, bounds, name),
                |_| (),
                || {
                    // They were allowed before.
                    let _ = self.state().allocator.set_bounds(id, old);
                },
            )?;
        }
        Ok(Some(volume))
    }

    /// Deletes the volume called `name` and everything that it has. No request may be in flight on
    /// it.
    ///
    /// # Errors
    /// When there is none, or that could not be recorded.
    pub fn remove(&self, name: &str) -> Result<(), PoolError> {
        let _alone = self.alone();
        let volume = self.volumes().by_name.get(name).cloned();
        let volume = volume.ok_or_else(|| PoolError::Unknown(name.to_owned()))?;
        self.record(
            |batch| batch.removed(volume.id()),
            |state| {
                state.retire(&volume);
                self.volumes().by_name.remove(name);
            },
            || (),
        )
    }

    fn release(&self, volume: &Volume, blocks: &SetView<'_>) -> Result<(), PoolError> {
        volume.forbid(blocks);
        self.record(
            |batch| batch.released(volume.id(), blocks),
            |state| {
                volume.for_each_mapped(blocks, |word| state.forget(volume, word));
                state.allocator.let_go(volume.id(), blocks.len());
            },
            || volume.allow(blocks),
        )
    }

    fn grant(&self, volume: &Volume, blocks: &SetView<'_>) -> Result<(), PoolError> {
        self.promise(volume.id(), blocks.len())?;
        self.record(
            |batch| batch.granted(volume.id(), blocks),
            |_| volume.allow(blocks),
            || self.state().allocator.let_go(volume.id(), blocks.len()),
        )
    }

    /// Counts `more` blocks as held, if the volume may hold them. In one step, and before that is
    /// recorded: recording waits for the backing, and meanwhile another volume must not be
    /// promised the same room.
    fn promise(&self, id: VolumeId, more: u32) -> Result<(), Refusal> {
        let mut state = self.state();
        let allowed = state.allocator.may_hold(id, more);
        allowed.map_err(|denied| self.refusal(denied))?;
        state.allocator.hold(id, more);
        Ok(())
    }
}
