//! The requests under way of one vSSD, of all its virtqueues.
//!
//! Requests are pushed in the order in which the guest made them available, move their data in any
//! order, and are popped in the first order again: a frontend that reconnects replays everything
//! after the last published one. The order of all is that of each virtqueue too; it is kept for all
//! because a thread that takes blocks counts on it ([`quiescence`](crate::pool::quiescence)), and
//! requests to the same blocks may come by different virtqueues.
//!
//! ```text
//!  push ─▶ Parked ──▶ Moving ──▶ Recording ──▶ Ended ─▶ pop
//!            │ waits for requests   │ waits until the pool's log has what it
//!            │ to the same blocks   │ changed: a first write, a discard, a flush
//! ```
//!
//! Whether the guest may use the blocks is checked once, when a request is pushed: a thread that
//! takes blocks from the volume waits for the requests that were checked before
//! ([`quiescence`](crate::pool::quiescence)). A request that maps or unmaps blocks has them for
//! itself, as do the few that a backing cannot take as they are.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread;

use super::bounce::Bounce;
use super::chain::Origin;
use super::slot::{Slot, Step};
use super::zeros::Padding;
use crate::backing::{Alignment, NullBacking};
use crate::io::Engine;
use crate::io::immediate::Immediate;
use crate::pool::Subscription;
use crate::vssd::Vssd;

/// A request that has ended, to be published in the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Where it came from.
    pub origin: Origin,
    /// Bytes written to its buffers.
    pub len: u32,
}

/// See the module.
pub struct RequestQueue {
    pub(super) engine: Box<dyn Engine>,
    pub(super) alignment: Alignment,
    pub(super) slots: VecDeque<Slot>,
    /// The token of the first slot.
    pub(super) base: u64,
    /// Slots that are parked.
    pub(super) parked: usize,
    /// Slots that move and have blocks for themselves.
    pub(super) exclusive: usize,
    /// Slots that wait for room in the engine or for physical blocks.
    pub(super) stalled: usize,
    /// Slots that wait for the log.
    pub(super) recording: usize,
    pub(super) commits: Subscription,
    pub(super) bounce: Bounce,
    /// Declared after the engine, which may be reading it when the queue is dropped.
    pub(super) padding: Padding,
}

impl RequestQueue {
    /// An empty queue for `vssd`.
    ///
    /// # Errors
    /// When the system does not provide what the engine needs.
    pub fn new(vssd: &Vssd) -> io::Result<Self> {
        let alignment = vssd.pool.alignment();
        Ok(Self {
            engine: vssd.pool.engine()?,
            alignment,
            slots: VecDeque::new(),
            base: 0,
            parked: 0,
            exclusive: 0,
            stalled: 0,
            recording: 0,
            commits: vssd.pool.subscribe()?,
            bounce: Bounce::new(vssd.geometry.block_size(), alignment),
            padding: Padding::new(alignment),
        })
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True when no request is under way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Makes [`park`](Self::park) wait for `other` as well.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn watch(&mut self, other: RawFd) -> io::Result<()> {
        self.engine.watch(other)
    }

    /// Makes sure that submitted transfers are under way.
    pub fn kick(&mut self) {
        self.engine.kick();
    }

    /// As `kick`, and waits until a transfer has ended. False when the caller has to wait: nothing
    /// is in flight, or the watched descriptor is readable.
    pub fn park(&mut self) -> bool {
        self.engine.park()
    }

    /// The subscription to commits.
    pub fn commits(&self) -> &Subscription {
        &self.commits
    }

    /// Waits for an event that may end a request.
    pub fn wait(&mut self, vssd: &Vssd) {
        if self.slots.iter().any(|slot| slot.transfers > 0) {
            self.engine.kick();
            self.engine.wait();
            return;
        }
        let waits = self.slots.iter().find_map(|slot| match slot.step {
            Step::Recording(pending) => Some(pending),
            Step::Moving {
                physical_blocks, ..
            } => physical_blocks,
            _ => None,
        });
        if let Some(pending) = waits {
            // The slot reads the outcome later.
            let _ = vssd.pool.wait(pending);
        }
    }
}

impl RequestQueue {
    /// Abandons every request that is under way, in whatever state: the thread that served them
    /// died. None is answered.
    pub fn abandon(&mut self, vssd: &Vssd) {
        // Dropping an engine waits for what is in flight.
        self.engine = Box::new(Immediate::new(Arc::new(NullBacking { len: 0 })));
        let pool = &*vssd.pool;
        for slot in self.slots.drain(..) {
            // What was written there was never acknowledged.
            pool.abandon(&vssd.volume, &slot.fresh);
        }
        vssd.volume.quiescence().end_all();
    }
}

impl Drop for RequestQueue {
    fn drop(&mut self) {
        debug_assert!(
            self.slots.is_empty() || thread::panicking(),
            "dropped with requests under way"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use vm_memory::VolatileSlice;
    use vssd::wire::Encoding;

    use super::*;
    use crate::backing::MemoryBacking;
    use crate::clock::Clock;
    use crate::notifier::Notifier;
    use crate::pool::Pool;
    use crate::pool::allocator::Bounds;
    use crate::request::{Chain, Pass};
    use crate::transport::Transport;
    use crate::vssd::{Context, Place};

    fn vssd() -> Vssd {
        let backing = Arc::new(MemoryBacking::new(1 << 20).unwrap());
        let pool = Arc::new(Pool::volatile(backing, 4096, 1000));
        let bounds = Bounds {
            quota: 256,
            reservation: 0,
        };
        let volume = pool.add("vm1", 256, bounds, 256).unwrap();
        let physical = Place {
            name: "vm1".to_owned(),
            socket: PathBuf::new(),
            transport: Transport::default(),
        };
        let context = Context {
            notifier: Arc::new(Notifier::default()),
            clock: Clock::monotonic(),
        };
        Vssd::new(physical, pool, volume, Encoding::Compact, 1, context).unwrap()
    }

    /// The state after a panic in the middle of a pass.
    #[test]
    #[allow(unsafe_code)]
    fn abandoned_requests_keep_no_physical_block_and_block_no_taker() {
        let vssd = vssd();
        let mut queue = RequestQueue::new(&vssd).unwrap();
        let mut header = [0u8; 16];
        header[0] = 1;
        let (mut data, mut status) = ([7u8; 4096], [0u8; 1]);
        let mut pass = Pass::begin(&vssd, &mut queue);
        let chain = Chain::new(
            [&mut header[..], &mut data[..]].map(VolatileSlice::from),
            [VolatileSlice::from(&mut status[..])],
        );
        // SAFETY: the buffers live to the end of the test.
        unsafe { pass.push(Origin::default(), chain, None) };
        drop(pass);
        let free = vssd.pool.usage().free;
        assert_eq!((queue.len(), free), (1, 255), "it has a physical block");
        queue.abandon(&vssd);
        assert_eq!((queue.len(), vssd.pool.usage().free), (0, 256));
        vssd.volume.quiescence().wait();
    }
}
