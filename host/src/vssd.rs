//! One vSSD on the hypervisor's side: the contract's [`Device`], the volume that is its storage,
//! and the statistics of its requests.
//!
//! Resizes and requests share little. The device is behind one lock, which no request takes; the
//! statistics of requests are behind another, which a pass of requests takes once. The volume
//! ensures that no request is in flight to blocks that change ownership, as [DEV-1] and [DEV-11]
//! require.
//!
//! A change of ownership waits for requests and for the journal, however long the backing takes for
//! them, and holds the lock of the device meanwhile. So readers take a [`View`], and nothing that
//! serves several vSSDs waits for that lock. The lock of the statistics is never held while its
//! holder waits for the backing.

mod arbitration;
mod resizing;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use vssd::block_set::BlockSet;
use vssd::device::Device;
use vssd::stream::Identity;
use vssd::units::Geometry;
use vssd::wire::{EVENT_LEN, Encoding};
use workloads::HostPick;

use crate::balancer::Share;
use crate::clock::Clock;
use crate::latency::Activity;
use crate::log_limit::LogLimit;
use crate::notifier::Notifier;
use crate::pick::{TooManyBlocks, Tracker};
use crate::pool::volume::Volume;
use crate::pool::{Pool, Store};
use crate::stats::Stats;
use crate::transport::Transport;
use crate::view::{Finished, Published, View};
use crate::wake::Wake;

pub use self::resizing::{COMPLETE, Waited};
pub use crate::resize_request::{ResizeRequest, StartError, Target, Unforced};

/// The state that resizes change.
pub struct State {
    /// The device's half of the contract.
    pub device: Device,
    /// Where changes of ownership go.
    store: Store,
    pick: HostPick,
    /// Exactly what a shrink is to take.
    given: Option<BlockSet>,
    rng: SmallRng,
    /// The kept outcomes, the last one first.
    finished: VecDeque<Finished>,
    device_ns: u64,
    message_bytes: u64,
    /// The resize under way would have taken blocks, had it been forced.
    withholds: bool,
}

/// The client of a vSSD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// It has not sent anything yet.
    pub connecting: bool,
    /// The process that connected, as far as that is known.
    pub pid: Option<u32>,
}

/// The client of an agent's channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentPeer {
    /// A frontend has connected its serial port.
    pub connected: bool,
    /// An agent in the guest has opened it.
    pub open: bool,
    /// The process that connected, as far as that is known.
    pub pid: Option<u32>,
}

/// The name and socket of a vSSD.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
    /// How it and its guest talk about resizes.
    pub transport: Transport,
}

/// What the vSSDs of a backend share.
#[derive(Clone)]
pub struct Context {
    /// Notified when anything about a vSSD has changed.
    pub notifier: Arc<Notifier>,
    /// The clock of their deadlines.
    pub clock: Clock,
}

/// One vSSD.
pub struct Vssd {
    /// Its name.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
    /// How it and its guest talk about resizes.
    pub transport: Transport,
    /// Its shape.
    pub geometry: Geometry,
    /// The pool that it is in.
    pub pool: Arc<Pool>,
    /// Its storage there.
    pub volume: Arc<Volume>,
    state: Mutex<State>,
    /// A copy of the state, readable without its lock.
    published: Mutex<Published>,
    stats: Mutex<Stats>,
    /// Whether a frontend (QEMU) is connected.
    connected: AtomicBool,
    peer: Mutex<Peer>,
    agent: Mutex<AgentPeer>,
    /// Threads that wait until the requests under way have ended.
    drains: AtomicU32,
    /// Restarts of its server after a thread died.
    restarts: AtomicU64,
    /// A thread revokes, or is about to.
    revoking: AtomicBool,
    /// It does not change any more: it is not served, and may be deleted or served again. Set under
    /// the lock of the state.
    removed: AtomicBool,
    revoke_log: LogLimit,
    /// What the device is doing, as [`Activity::ALL`]'s index.
    activity: AtomicU8,
    /// Whether a write must be durable when it ends: the driver did not negotiate flushes.
    is_write_through: AtomicBool,
    /// What the arbiter is to give it.
    share: Mutex<Share>,
    /// Blocks that it held at first.
    base: u32,
    notifier: Arc<Notifier>,
    wake: Wake,
    clock: Clock,
}

impl Vssd {
    /// A vSSD without a connection yet, whose storage is `volume` of
    /// `pool`. Its sessions count up from `seed`.
    ///
    /// # Errors
    /// When the system has no descriptor left, or the shape is impossible.
    pub fn new(
        place: Place,
        pool: Arc<Pool>,
        volume: Arc<Volume>,
        encoding: Encoding,
        seed: u64,
        context: Context,
    ) -> io::Result<Self> {
        let capacity = u64::from(volume.capacity());
        let geometry = Geometry::new(pool.block_size(), capacity).map_err(io::Error::other)?;
        volume.quiescence().announce(&context.notifier);
        let held = volume.held();
        let base = held.len();
        let state = State {
            device: Device::new(geometry, held, encoding, seed),
            store: Store {
                pool: pool.clone(),
                volume: volume.clone(),
            },
            pick: HostPick::default(),
            given: None,
            rng: SmallRng::seed_from_u64(seed),
            finished: VecDeque::new(),
            device_ns: 0,
            message_bytes: 0,
            withholds: false,
        };
        Ok(Self {
            name: place.name,
            socket: place.socket,
            transport: place.transport,
            geometry,
            pool,
            volume,
            published: Mutex::new(state.published()),
            state: Mutex::new(state),
            stats: Mutex::default(),
            connected: AtomicBool::new(false),
            peer: Mutex::default(),
            agent: Mutex::default(),
            drains: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
            revoking: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            revoke_log: LogLimit::default(),
            activity: AtomicU8::new(Activity::Quiet as u8),
            is_write_through: AtomicBool::new(false),
            share: Mutex::default(),
            base,
            notifier: context.notifier,
            wake: Wake::new()?,
            clock: context.clock,
        })
    }

    /// Nanoseconds on the clock of this vSSD's deadlines.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// The state, locked; this may wait as long as the backing takes.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state of the device: the present one, or if it is busy until then, the one before it
    /// became busy, with the blocks that the guest may use now.
    pub fn view(&self, until: Instant) -> View {
        if let Some(state) = self.state.try_lock_until(until) {
            return View {
                digest: state.device.granted().digest(),
                ..state.view()
            };
        }
        let held = self.volume.held();
        View {
            held: held.len(),
            digest: held.digest(),
            ..self.published.lock().view.clone()
        }
    }

    /// The statistics of its requests, locked.
    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock()
    }

    /// The client.
    pub fn peer(&self) -> Peer {
        *self.peer.lock()
    }

    /// Updates the client.
    pub fn update_peer(&self, change: impl FnOnce(&mut Peer)) {
        change(&mut self.peer.lock());
        self.notifier.notify();
    }

    /// The client of the agent's channel.
    pub fn agent(&self) -> AgentPeer {
        *self.agent.lock()
    }

    /// Replaces the client of the agent's channel.
    pub fn update_agent(&self, peer: AgentPeer) {
        *self.agent.lock() = peer;
        self.notifier.notify();
    }

    /// [STR-9] An agent has opened the channel: whoever spoke before is gone, and this one has to learn the
    /// present state.
    pub fn agent_opened(&self) {
        self.agent.lock().open = true;
        let mut state = self.lock();
        state.device.disconnected();
        state.device.reconnected();
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
    }

    /// Its name and shape, as an agent gets them.
    pub fn identity(&self) -> Identity {
        Identity {
            geometry: self.geometry,
            name: self.name.clone(),
        }
    }

    /// The next event for the guest. Ask only when it can be sent.
    pub fn take_event(&self) -> Option<[u8; EVENT_LEN]> {
        let now = self.now_ns();
        self.lock().device.take_event(now)
    }

    /// Whether something waits for events of the device.
    fn hears_events(&self) -> bool {
        match self.transport {
            Transport::Virtqueues => self.is_connected(),
            Transport::Stream { .. } => self.agent().open,
        }
    }

    /// Whether a frontend is connected, or at least a client that may become one.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    /// Whether a thread waits for requests to end: for a change of ownership, a reset or a
    /// disconnect.
    pub fn is_draining(&self) -> bool {
        self.drains.load(Ordering::Relaxed) > 0 || self.volume.quiescence().is_waited_for()
    }

    /// Marks that the caller waits for requests to end, until the result is dropped.
    pub fn draining(&self) -> Draining<'_> {
        self.drains.fetch_add(1, Ordering::Relaxed);
        self.notifier.notify();
        Draining(self)
    }

    /// Restarts of its server after a thread died.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Counts a restart of its server after a thread died.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.notifier.notify();
    }

    /// What the device is doing.
    pub fn activity(&self) -> Activity {
        Activity::ALL[usize::from(self.activity.load(Ordering::Relaxed))]
    }

    /// Whether a write must be durable when it ends.
    pub fn is_write_through(&self) -> bool {
        self.is_write_through.load(Ordering::Relaxed)
    }

    /// Sets whether a write must be durable when it ends.
    pub fn set_write_through(&self, through: bool) {
        self.is_write_through.store(through, Ordering::Relaxed);
    }

    /// Notified when anything about a vSSD has changed.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Wakes the thread that serves commands when an event is due.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Tracks requests for `pick` from now on, or stops tracking. Earlier tracking is discarded.
    ///
    /// # Errors
    /// When it has too many blocks for the pick; tracking is then as before.
    pub fn track(&self, pick: Option<HostPick>) -> Result<(), TooManyBlocks> {
        // What changes ownership meanwhile is seen at the next change, or by the pick.
        let held = self.volume.held();
        let tracker = match pick {
            Some(pick) => Tracker::new(pick, &held)?,
            None => None,
        };
        self.stats().tracker = tracker;
        Ok(())
    }

    /// Sets how block sets travel; the driver starts a new session for it.
    pub fn set_encoding(&self, encoding: Encoding) {
        let mut state = self.lock();
        if self.is_removed() {
            return;
        }
        state.device.set_encoding(encoding);
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
    }

    /// A frontend has connected or disconnected.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::SeqCst);
        let mut state = self.lock();
        if connected {
            state.device.reconnected();
        } else {
            state.device.disconnected();
        }
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
    }

    /// The frontend stopped the driver's commands: the machine is stopped, or reset.
    pub fn commands_stopped(&self) {
        let mut state = self.lock();
        state.device.disconnected();
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
    }

    /// Retires it after its server has stopped: from now on nothing changes what it holds, even
    /// through remaining references. Otherwise a change would be recorded for a volume that is
    /// deleted, or that another [`Vssd`] has by now.
    pub fn retire(&self) {
        let state = self.lock();
        self.removed.store(true, Ordering::SeqCst);
        drop(state);
        self.notifier.notify();
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }
}

/// Marks a thread that waits for requests of a vSSD to end.
pub struct Draining<'a>(&'a Vssd);

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.drains.fetch_sub(1, Ordering::Relaxed);
        self.0.notifier.notify();
    }
}

impl State {
    /// The outcome of resize `id`, if it has ended and is still kept.
    pub fn finished(&self, id: u64) -> Option<&Finished> {
        self.finished.iter().find(|found| found.outcome.id == id)
    }

    /// The device as it is reported, without the digest, which takes a pass over all blocks.
    fn view(&self) -> View {
        let device = &self.device;
        View {
            held: device.granted().len(),
            digest: 0,
            agreed: device.is_agreed(),
            driver: device.has_session(),
            encoding: device.encoding(),
            advice: device.advice(),
            resize: device.resize_under_way().cloned(),
            last: self.finished.front().copied(),
        }
    }

    /// What can be read without the lock.
    fn published(&self) -> Published {
        Published {
            view: self.view(),
            finished: self.finished.clone(),
        }
    }
}
