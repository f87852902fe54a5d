//! The pool that the vSSDs of several twins are in.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use vssd::units::Geometry;
use vssd::wire::Encoding;
use vssd_host::backing::{Backing, MemoryBacking, NullBacking};
use vssd_host::clock::Clock;
use vssd_host::notifier::Notifier;
use vssd_host::pool::Pool;
use vssd_host::pool::allocator::Bounds;
use vssd_host::spec::Overcommit;
use vssd_host::transport::Transport;
use vssd_host::vssd::{Context as Shared, Place, Vssd};

use super::Twin;
use super::disk::{Sectors, SparseDisk};
use crate::resources::check_memory;
use crate::testbed::{Disks, Shape};

/// A pool in memory.
///
/// Its twins have clocks of their own and may run at the same time: what one counts depends on the
/// others only by the blocks that it is granted. So counts are the same in every run as long as
/// resizes are.
pub struct TwinPool {
    pool: Arc<Pool>,
    notifier: Arc<Notifier>,
    keeps_data: bool,
}

impl TwinPool {
    /// A pool of this shape, without volumes.
    ///
    /// # Errors
    /// When the shape is invalid, or memory is short.
    pub fn new(shape: Shape) -> Result<Self> {
        let bytes = u32::try_from(shape.block_size.0).unwrap_or(0);
        let blocks = shape.size.0.checked_div(u64::from(bytes)).unwrap_or(0);
        let geometry = Geometry::new(bytes, blocks)?;
        check_memory(shape.written)?;
        let keeps_data = shape.written.0 > 0;
        let backing: Arc<dyn Backing> = if keeps_data {
            Arc::new(
                MemoryBacking::new(geometry.capacity_bytes())
                    .context("allocate the medium in memory")?,
            )
        } else {
            Arc::new(NullBacking {
                len: geometry.capacity_bytes(),
            })
        };
        Ok(Self {
            pool: Arc::new(Pool::volatile(backing, bytes, Overcommit::NONE.0)),
            notifier: Arc::new(Notifier::default()),
            keeps_data,
        })
    }

    /// Boots a guest on a vSSD in the pool that is called `name` and has the size of `disks.vssd`, of
    /// which it holds the first `held` blocks.
    ///
    /// # Errors
    /// When the name is taken, the pool has too few blocks, or the guest cannot run.
    pub fn boot(&self, name: &str, disks: &Disks, held: u32) -> Result<Twin> {
        let origin = disks.origin.map(|origin| {
            Ok::<_, anyhow::Error>(if self.keeps_data {
                Sectors::Sparse(Arc::new(SparseDisk::new(origin.size)?))
            } else {
                Sectors::Null { len: origin.size.0 }
            })
        });
        let origin = origin.transpose()?;
        let blocks = disks.vssd.size.0 / u64::from(self.pool.block_size());
        let capacity = u32::try_from(blocks).context("the vSSD has too many blocks")?;
        let bounds = Bounds {
            quota: capacity,
            reservation: 0,
        };
        let volume = self.pool.add(name, capacity, bounds, held)?;
        let clock = Arc::new(AtomicU64::new(0));
        let place = Place {
            name: name.to_owned(),
            socket: PathBuf::new(),
            transport: Transport::default(),
        };
        let shared = Shared {
            notifier: self.notifier.clone(),
            clock: Clock::Virtual(clock.clone()),
        };
        let pool = self.pool.clone();
        let vssd = Vssd::new(place, pool, volume, Encoding::Compact, 1, shared)?;
        Twin::boot(Arc::new(vssd), clock, origin, disks.trace.clone())
    }

    /// Deletes the vSSD of a guest that was switched off.
    ///
    /// # Errors
    /// When the vSSD is not in this pool.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(self.pool.remove(name)?)
    }
}
