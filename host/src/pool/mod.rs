//! A pool: one medium shared by the vSSDs of many virtual machines.
//!
//! The medium's data area is cut into *places*, one block each. A *volume* is
//! the storage of one vSSD: it maps the device's blocks to places, each when it
//! is first written. The *ledger* says who owns which place and how many more
//! each volume may hold. Reads and writes look only at their own volume's map,
//! which is made of atomic words; whatever changes who owns what happens under
//! the lock of the *books*, and is in the pool's *log* before anybody is told.
//!
//! ```text
//!   requests of a vSSD ── Volume (map, granted bits) ── places of the medium
//!                            │ first writes, discards
//!   resizes ─────────────▶ Books (ledger, deltas) ──▶ log ──▶ the medium's journal
//! ```
//!
//! - [`ledger`], [`volume`], [`turns`], [`books`]: what is where, without I/O
//! - [`journal`]: what lasts, on the medium itself
//! - [`tickets`], `commit`: when it gets there, and waiting for that

pub mod books;
mod commit;
pub mod journal;
pub mod ledger;
pub mod tickets;
pub mod turns;
pub mod volume;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Instant;

use vssd::block_set::BlockSet;
use vssd::device::Ownership;
use vssd::encoding::SetView;
use vssd::units::Geometry;

use self::books::Books;
use self::commit::Log;
use self::journal::layout;
use self::journal::{Fault, JournalError};
use self::ledger::{Account, Bounds, Denied, Ledger, Refusal, Usage, VolumeId};
pub use self::tickets::{Strength, Subscription, Ticket};
use self::volume::{Extent, Volume};
use crate::causes::Causes;
use crate::io::immediate::Immediate;
use crate::io::paced::{Pace, Paced};
use crate::io::uring::Uring;
use crate::io::{Engine, EngineName};
use crate::latency::{Activity, Latency};
use crate::media::{MediaKind, MediaModel, TooLarge, Wear};
use crate::medium::{Alignment, Medium, Room};
use crate::size::Blocks;

/// Why a pool refuses.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The ledger does.
    #[error(transparent)]
    Denied(#[from] Refusal),
    /// The system does not provide something.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The journal does not take it, or cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What the journal says cannot be.
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
    /// Places there are.
    pub places: u32,
    /// Thousandths of these that may be promised to volumes.
    pub overcommit_permille: u32,
}

impl Shape {
    /// Whether a pool can have this shape.
    pub fn is_possible(&self) -> bool {
        Geometry::new(self.block_size, self.places.into()).is_ok()
    }

    /// Bytes of all places.
    pub fn places_len(&self) -> u64 {
        u64::from(self.places) * u64::from(self.block_size)
    }

    /// Bytes that a pool of this shape takes on its medium.
    pub fn medium_len(&self) -> u64 {
        self.room().len
    }

    /// What a pool of this shape needs of its medium.
    pub fn room(&self) -> Room {
        layout::room(*self)
    }
}

/// A volume of a pool, as it is told.
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
    medium: Arc<dyn Medium>,
    engine: EngineName,
    block_size: u32,
    /// Where the places begin on the medium, bytes.
    data: u64,
    books: Mutex<Books>,
    volumes: Mutex<Volumes>,
    /// Held while volumes come, change or go.
    alone: Mutex<()>,
    /// `None` for a pool that does not last.
    log: Option<Log>,
    /// Set where the medium is to be as slow as another.
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
    /// A pool that is gone when this process is, on all of `medium`.
    pub fn volatile(medium: Arc<dyn Medium>, block_size: u32, overcommit_permille: u32) -> Self {
        let places = medium.len() / u64::from(block_size);
        let places = u32::try_from(places).unwrap_or(u32::MAX - 1);
        Self {
            engine: EngineName::Sync,
            block_size,
            data: 0,
            books: Mutex::new(Books::new(Ledger::new(places, overcommit_permille), false)),
            volumes: Mutex::default(),
            alone: Mutex::default(),
            log: None,
            pace: OnceLock::new(),
            on_loss: OnceLock::new(),
            medium,
        }
    }

    /// Bytes in a block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// What the medium wants of buffers and offsets.
    pub fn alignment(&self) -> Alignment {
        self.medium.alignment()
    }

    /// Whether what was written can be read.
    pub fn keeps_data(&self) -> bool {
        self.medium.keeps_data()
    }

    /// Where a place is on the medium, bytes.
    pub fn offset(&self, place: u32) -> u64 {
        self.data + u64::from(place) * u64::from(self.block_size)
    }

    /// Has requests take as long as on a medium of that kind, by all engines made from now on.
    ///
    /// # Errors
    /// When the medium is larger than a model can be.
    pub fn imitate(&self, kind: MediaKind) -> Result<(), TooLarge> {
        let model = MediaModel::new(kind, self.medium.len())?;
        self.pace.get_or_init(|| Arc::new(Pace::new(model)));
        Ok(())
    }

    /// What writing would have done to the medium that is imitated.
    pub fn wear(&self) -> Option<Wear> {
        self.pace.get().map(|pace| pace.wear())
    }

    /// A new engine on the medium.
    ///
    /// # Errors
    /// When the system does not provide what it needs.
    pub fn engine(&self) -> io::Result<Box<dyn Engine>> {
        let engine: Box<dyn Engine> = match (self.engine, self.medium.file()) {
            (EngineName::Uring, Some(file)) => Box::new(Uring::new(file)?),
            _ => Box::new(Immediate::new(self.medium.clone())),
        };
        Ok(match self.pace.get() {
            Some(pace) => Box::new(Paced::new(engine, pace.clone())?),
            None => engine,
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books, for a request. That it had to wait for them is noted.
    pub fn books_for_io(&self, latency: &mut Latency, activity: Activity) -> MutexGuard<'_, Books> {
        match self.books.try_lock() {
            Ok(books) => books,
            Err(TryLockError::Poisoned(books)) => books.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let began = Instant::now();
                let books = self.books();
                latency.stalled(activity, began.elapsed().as_nanos() as u64);
                books
            }
        }
    }

    /// The first writes of these blocks, to their places, will not be done.
    pub fn abandon(&self, volume: &Volume, fresh: &[Extent]) {
        let mut books = self.books();
        for extent in fresh {
            books.abandon(volume, *extent);
        }
    }

    #[cfg(test)]
    fn assert_consistent(&self) {
        self.books().ledger.assert_consistent();
    }

    /// What is used of it.
    pub fn usage(&self) -> Usage {
        self.books().ledger.usage()
    }

    /// What a volume may use and uses; `None` once it is deleted.
    pub fn account(&self, volume: &Volume) -> Option<Account> {
        self.books().ledger.find(volume.id())
    }

    /// Makes sure that a volume may hold `more` blocks more.
    pub fn may_hold(&self, volume: &Volume, more: u32) -> Result<(), Refusal> {
        let allowed = self.books().ledger.may_hold(volume.id(), more);
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
        let ledger = &self.books().ledger;
        let members = volumes.into_iter().filter_map(|(name, volume)| {
            Some(Member {
                name,
                capacity: volume.capacity(),
                account: ledger.find(volume.id())?,
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
            account: self.books().ledger.find(volume.id())?,
        })
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn volumes(&self) -> MutexGuard<'_, Volumes> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
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
        {
            let mut books = self.books();
            let refusal = |denied| self.refusal(denied);
            books.ledger.open(id, bounds).map_err(refusal)?;
            if let Err(denied) = books.ledger.may_hold(id, held) {
                books.ledger.close(id);
                return Err(self.refusal(denied).into());
            }
        }
        let mut blocks = BlockSet::empty(capacity);
        blocks.insert_range(0, held);
        self.record(
            |batch| {
                batch.volume(id, capacity, bounds, name);
                commit::granted(batch, id, &blocks, geometry);
            },
            |books| {
                volume.restore_held(&blocks);
                books.ledger.hold(id, held);
                let mut volumes = self.volumes();
                volumes.next += 1;
                volumes.by_name.insert(name.to_owned(), volume.clone());
            },
            || self.books().ledger.close(id),
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
            let set = self.books().ledger.set_bounds(id, bounds);
            set.map_err(|denied| self.refusal(denied))?;
            self.record(
                |batch| batch.volume(id, capacity, bounds, name),
                |_| (),
                || {
                    // They were allowed before.
                    let _ = self.books().ledger.set_bounds(id, old);
                },
            )?;
        }
        Ok(Some(volume))
    }

    /// Gives up everything that the volume called `name` has, and forgets it.
    /// Nobody may be at work on it.
    ///
    /// # Errors
    /// When there is none, or that could not be recorded.
    pub fn remove(&self, name: &str) -> Result<(), PoolError> {
        let _alone = self.alone();
        let volume = self.volumes().by_name.get(name).cloned();
        let volume = volume.ok_or_else(|| PoolError::Unknown(name.to_owned()))?;
        self.record(
            |batch| batch.removed(volume.id()),
            |books| {
                books.retire(&volume);
                self.volumes().by_name.remove(name);
            },
            || (),
        )
    }

    fn release(&self, volume: &Volume, blocks: &SetView<'_>) -> Result<(), PoolError> {
        volume.forbid(blocks);
        self.record(
            |batch| batch.released(volume.id(), blocks),
            |books| {
                volume.for_each_mapped(blocks, |word| books.forget(volume, word));
                books.ledger.let_go(volume.id(), blocks.len());
            },
            || volume.allow(blocks),
        )
    }

    fn grant(&self, volume: &Volume, blocks: &SetView<'_>) -> Result<(), PoolError> {
        self.may_hold(volume, blocks.len())?;
        self.record(
            |batch| batch.granted(volume.id(), blocks),
            |books| {
                books.ledger.hold(volume.id(), blocks.len());
                volume.allow(blocks);
            },
            || (),
        )
    }
}

/// What changes of ownership do to a volume of a pool.
pub struct Store {
    /// The pool.
    pub pool: Arc<Pool>,
    /// The volume.
    pub volume: Arc<Volume>,
}

impl Ownership for Store {
    type Error = PoolError;

    fn release(&mut self, blocks: &SetView<'_>) -> Result<(), PoolError> {
        logged(self.pool.release(&self.volume, blocks))
    }

    fn grant(&mut self, blocks: &SetView<'_>) -> Result<(), PoolError> {
        logged(self.pool.grant(&self.volume, blocks))
    }
}

/// Says why ownership cannot change: the guest is told only that it cannot.
fn logged(result: Result<(), PoolError>) -> Result<(), PoolError> {
    if let Err(error) = &result {
        let error = Causes(error);
        tracing::error!(%error, "a change of ownership could not be recorded; the resize ends");
    }
    result
}
