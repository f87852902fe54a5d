//! One vSSD as the hypervisor holds it: the contract's [`Device`], the volume
//! that is its storage, and what is known of its requests.
//!
//! Resizes and requests hardly meet. The device is behind one lock, which no
//! request takes; what is counted of requests is behind another, which a pass of
//! requests takes once. That no request is in flight to blocks which change hands,
//! as [DEV-1] and [DEV-11] ask for, is the volume's affair.
//!
//! A change of hands waits for requests and for the journal, however long the backing takes
//! for them, and the lock of the device is held meanwhile. So whoever only wants to know
//! something takes a [`View`], and nothing that serves several vSSDs waits for that lock.
//! The lock of the statistics is never held while its holder waits for the backing.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use vmm_sys_util::eventfd::EventFd;
use vssd::block_set::BlockSet;
use vssd::device::{self, Device, End, Evict, Outcome, ResizeError};
use vssd::units::Geometry;
use vssd::wire::{Encoding, Opcode};

use crate::clock::Clock;
use crate::latency::Activity;
use crate::log_limit::LogLimit;
use crate::notifier::Notifier;
use crate::pick::{HostPick, Tracker, pick};
use crate::pool::volume::Volume;
use crate::pool::{Pool, Store};
use crate::scheduling::let_others_first;
use crate::size::Blocks;
use crate::stats::Stats;
use crate::threads::survive;
use crate::view::{Published, View};

pub use crate::resize_request::{ResizeRequest, StartError, Target, Unforced};

/// How a resize ended that moved all that was asked for, in a word.
pub const COMPLETE: &str = "complete";

/// Outcomes that are kept for threads that wait for one.
const OUTCOMES_KEPT: usize = 16;

/// When a look at a vSSD is to be repeated that was busy.
const BUSY_INTERVAL: Duration = Duration::from_millis(10);

/// When a revocation is to be tried again that could not be carried out.
const REVOKE_INTERVAL: Duration = Duration::from_secs(1);

/// A resize that ended, with what it cost here.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes in a block.
    pub block_size: u32,
    /// Work of the device for it: commands, ownership, revocation.
    pub device_ns: u64,
    /// Bytes of the commands and responses.
    pub message_bytes: u64,
}

/// What became of a wait for a resize.
#[derive(Clone, Copy, Debug)]
pub enum Waited {
    /// It ended.
    Ended(Finished),
    /// It goes on.
    UnderWay,
    /// It ended so long ago that nothing more is known.
    Forgotten,
    /// The vSSD is not served any more.
    Removed,
}

/// What resizes are about.
pub struct State {
    /// The device's half of the contract.
    pub device: Device,
    /// Where changes of ownership go.
    store: Store,
    pick: HostPick,
    /// Exactly what a shrink is to take.
    given: Option<BlockSet>,
    rng: SmallRng,
    finished: VecDeque<Finished>,
    device_ns: u64,
    message_bytes: u64,
}

/// Who is connected to a vSSD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// It has not sent anything yet.
    pub connecting: bool,
    /// The process that connected, as far as that is known.
    pub pid: Option<u32>,
}

/// Where a vSSD is found.
#[derive(Clone, Debug)]
pub struct Place {
    /// What people call it.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
}

/// What the vSSDs of a backend share.
#[derive(Clone)]
pub struct Context {
    /// Rings when anything about a vSSD changed.
    pub notifier: Arc<Notifier>,
    /// The clock of their deadlines.
    pub clock: Clock,
}

/// One vSSD.
pub struct Vssd {
    /// What people call it.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
    /// Its shape.
    pub geometry: Geometry,
    /// The pool that it is in.
    pub pool: Arc<Pool>,
    /// Its storage there.
    pub volume: Arc<Volume>,
    state: Mutex<State>,
    /// What is known of the state without its lock.
    published: Mutex<Published>,
    stats: Mutex<Stats>,
    /// Whether a frontend (QEMU) is connected.
    connected: AtomicBool,
    peer: Mutex<Peer>,
    /// Threads that wait until the requests under way have ended.
    drains: AtomicU32,
    /// How often it was served anew because a thread had died.
    restarts: AtomicU64,
    /// A thread revokes, or is about to.
    revoking: AtomicBool,
    /// Nothing changes it any more: it is not served, and may be deleted or served anew. Set under
    /// the lock of the state.
    removed: AtomicBool,
    revoke_log: LogLimit,
    /// What the device is doing, as [`Activity::ALL`]'s index.
    activity: AtomicU8,
    /// Whether a write is to last when it ends: the driver knows no flush.
    writes_through: AtomicBool,
    notifier: Arc<Notifier>,
    wake: EventFd,
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
        let state = State {
            device: Device::new(geometry, volume.held(), encoding, seed),
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
        };
        Ok(Self {
            name: place.name,
            socket: place.socket,
            geometry,
            pool,
            volume,
            published: Mutex::new(Published::of(&state)),
            state: Mutex::new(state),
            stats: Mutex::default(),
            connected: AtomicBool::new(false),
            peer: Mutex::default(),
            drains: AtomicU32::new(0),
            restarts: AtomicU64::new(0),
            revoking: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            revoke_log: LogLimit::default(),
            activity: AtomicU8::new(Activity::Quiet as u8),
            writes_through: AtomicBool::new(false),
            notifier: context.notifier,
            wake: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
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

    /// What is known of the device: as it is now, or if that is busy until then, as it was
    /// before it became so, with the blocks that the guest may use now.
    pub fn view(&self, until: Instant) -> View {
        if let Some(state) = self.state.try_lock_until(until) {
            return View {
                digest: state.device.granted().digest(),
                ..View::of(&state)
            };
        }
        let held = self.volume.held();
        View {
            held: held.len(),
            digest: held.digest(),
            ..self.published.lock().view.clone()
        }
    }

    /// What is known of its requests, locked.
    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock()
    }

    /// Who is connected.
    pub fn peer(&self) -> Peer {
        *self.peer.lock()
    }

    /// Notes who is connected.
    pub fn update_peer(&self, change: impl FnOnce(&mut Peer)) {
        change(&mut self.peer.lock());
        self.notifier.notify();
    }

    /// Whether a frontend is connected, or at least a client that may become one.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    /// Whether a thread waits for requests to end: for a change of hands, a reset or the end of a
    /// connection.
    pub fn is_draining(&self) -> bool {
        self.drains.load(Ordering::Relaxed) > 0 || self.volume.quiescence().is_waited_for()
    }

    /// The caller waits for requests to end, until it drops what it gets.
    pub fn draining(&self) -> Draining<'_> {
        self.drains.fetch_add(1, Ordering::Relaxed);
        self.notifier.notify();
        Draining(self)
    }

    /// How often it was served anew because a thread had died.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// A thread that served it has died; it is served anew.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.notifier.notify();
    }

    /// What the device is doing.
    pub fn activity(&self) -> Activity {
        Activity::ALL[usize::from(self.activity.load(Ordering::Relaxed))]
    }

    /// Whether a write is to last when it ends.
    pub fn writes_through(&self) -> bool {
        self.writes_through.load(Ordering::Relaxed)
    }

    /// Sets whether a write is to last when it ends.
    pub fn set_writes_through(&self, through: bool) {
        self.writes_through.store(through, Ordering::Relaxed);
    }

    /// What rings when anything about a vSSD changed.
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// What wakes the worker when an event is due.
    pub fn wake(&self) -> &EventFd {
        &self.wake
    }

    /// Carries out a command of the driver; `answer` takes the response.
    pub fn command(&self, request: &[u8], room: usize, answer: impl FnOnce(&[u8])) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if self.is_removed() {
            return;
        }
        let now = self.now_ns();
        let deadline = state.device.next_deadline_ns();
        let held = state.device.granted().len();
        let served = state.device.command(request, room, now, &mut state.store);
        let (result, message_bytes) = (served.result, request.len() + served.response.len());
        answer(served.response);
        {
            let counters = &mut self.stats().counters;
            match result {
                Ok(_) => counters.commands += 1,
                Err(reject) => counters.reject(reject),
            }
            counters.moved(held, state.device.granted().len());
        }
        let new_driver = matches!(result, Ok(Opcode::Hello | Opcode::Confirm));
        state.message_bytes += message_bytes as u64;
        state.device_ns += self.now_ns() - now;
        let ended = self.follow(state, self.now_ns());
        // The clock sleeps until the deadline it was last told.
        let new_deadline = state.device.next_deadline_ns() != deadline;
        drop(guard);
        if ended || new_driver || new_deadline {
            self.notifier.notify();
        }
    }

    /// Starts a resize and returns its id; its deadline counts from now.
    pub fn resize(&self, request: ResizeRequest) -> Result<u64, StartError> {
        self.start(request, None)
    }

    /// Starts a resize that takes exactly `blocks`, and returns its id.
    ///
    /// # Errors
    /// As of any resize, and when the guest does not hold one of them.
    pub fn take(&self, blocks: BlockSet, request: ResizeRequest) -> Result<u64, StartError> {
        let request = ResizeRequest {
            target: Target::Shrink(blocks.len().into()),
            pick: Some(HostPick::Given),
            ..request
        };
        self.start(request, Some(blocks))
    }

    fn start(&self, request: ResizeRequest, given: Option<BlockSet>) -> Result<u64, StartError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if self.is_removed() {
            return Err(StartError::Removed);
        }
        let missing = |block: &u32| !state.device.granted().contains(*block);
        if let Some(block) = given.as_ref().and_then(|given| given.iter().find(missing)) {
            return Err(StartError::NotHeld(block));
        }
        let tracked = self.stats().tracker.as_ref().map(Tracker::serves);
        if request.pick.is_some_and(HostPick::needs_tracker) && tracked != request.pick {
            return Err(StartError::NotTracked);
        }
        let held = state.device.granted().len();
        let (capacity, block_size) = (self.geometry.capacity(), self.geometry.block_size());
        let target = request.target.blocks(held, capacity, block_size)?;
        let more = target.saturating_sub(held);
        self.pool.may_hold(&self.volume, more)?;
        let now = self.now_ns();
        // With no frontend there is no guest to wait for.
        let is_forced = target < held && request.force && request.revoke;
        let deadline = request.deadline.map(|deadline| {
            if is_forced && !self.is_connected() {
                Duration::ZERO
            } else {
                deadline
            }
        });
        let for_device = device::ResizeRequest {
            target,
            evict: match request.pick {
                None => Evict::Guest,
                Some(_) => Evict::Host,
            },
            deadline_ns: deadline.map(|patience| {
                now.saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
            }),
            revoke: request.revoke,
            force: request.force,
        };
        let id = match state.device.resize(for_device, now) {
            Err(ResizeError::NoDriver) => {
                return Err(self.unforced(state, held.saturating_sub(target)).into());
            }
            started => started?,
        };
        state.given = given;
        state.pick = request.pick.unwrap_or_default();
        if let Some(seed) = request.seed {
            state.rng = SmallRng::seed_from_u64(seed);
        }
        state.device_ns = 0;
        state.message_bytes = 0;
        self.follow(state, self.now_ns());
        drop(guard);
        self.notifier.notify();
        Ok(id)
    }

    /// What a shrink by `wanted` blocks would break where no driver is there.
    fn unforced(&self, state: &State, wanted: u32) -> Unforced {
        let blocks = |count: u32| Blocks {
            count: count.into(),
            block_size: self.geometry.block_size(),
        };
        Unforced {
            connected: self.is_connected(),
            wanted: blocks(wanted),
            held: blocks(state.device.granted().len()),
            written: blocks(self.pool.account(&self.volume).unwrap_or_default().owned),
        }
    }

    /// From now on remembers requests for `pick`, or for none. What was
    /// remembered before is forgotten.
    pub fn track(&self, pick: Option<HostPick>) {
        let tracker = pick.and_then(|pick| Tracker::new(pick, self.geometry.capacity()));
        self.stats().tracker = tracker;
    }

    /// Cancels the resize under way; returns its id.
    pub fn cancel(&self) -> Option<u64> {
        let mut state = self.lock();
        if self.is_removed() {
            return None;
        }
        let id = state.device.cancel(self.now_ns());
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
        id
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

    /// Notes that time has passed; returns when to come again.
    pub fn tick(&self) -> Option<Duration> {
        let state = self.lock();
        self.tick_locked(state, self.now_ns())
    }

    fn tick_locked(&self, mut state: MutexGuard<'_, State>, now: u64) -> Option<Duration> {
        if self.is_removed() {
            return None;
        }
        let ended = self.follow(&mut state, now);
        let next = state.device.next_deadline_ns();
        drop(state);
        if ended {
            self.notifier.notify();
        }
        next.map(|at| Duration::from_nanos(at.saturating_sub(self.now_ns())))
    }

    /// The same for a thread that must not wait. What has to wait, a revocation, is left to a
    /// thread of its own.
    pub fn tick_at_once(self: &Arc<Self>) -> Option<Duration> {
        let Some(state) = self.state.try_lock() else {
            return Some(BUSY_INTERVAL);
        };
        let now = self.now_ns();
        if state.device.revocation_due(now) == 0 {
            return self.tick_locked(state, now);
        }
        drop(state);
        if self.revoking.swap(true, Ordering::SeqCst) {
            return Some(BUSY_INTERVAL);
        }
        let vssd = self.clone();
        let revoke = move || {
            let_others_first();
            let survived = survive(|| vssd.tick()).is_some();
            if !survived {
                thread::sleep(REVOKE_INTERVAL);
            }
            vssd.revoking.store(false, Ordering::SeqCst);
            vssd.notifier.notify();
        };
        let thread = thread::Builder::new().name(format!("revoke-{}", self.name));
        if let Err(error) = thread.spawn(revoke) {
            self.revoking.store(false, Ordering::SeqCst);
            if let Some(times) = self.revoke_log.due() {
                tracing::error!(vssd = %self.name, %error, times, "a revocation could not be started");
            }
            return Some(REVOKE_INTERVAL);
        }
        // Its end notifies.
        None
    }

    /// A frontend came or went.
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

    /// Ends its life: from now on nothing changes what it holds, whoever still has it in hand.
    /// Otherwise that would be recorded of a volume that is gone, or that another [`Vssd`] has by
    /// now. Its server has stopped.
    pub fn retire(&self) {
        let state = self.lock();
        self.removed.store(true, Ordering::SeqCst);
        drop(state);
        self.notifier.notify();
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Waits for the end of resize `id`, at most until `until`.
    pub fn wait_for(&self, id: u64, until: Instant) -> Waited {
        loop {
            let generation = self.notifier.generation();
            if self.is_removed() {
                return Waited::Removed;
            }
            {
                let published = self.published.lock();
                if let Some(found) = published.finished.iter().find(|f| f.outcome.id == id) {
                    return Waited::Ended(*found);
                }
                let under_way = published.view.resize.as_ref();
                if under_way.is_none_or(|resize| resize.id != id) {
                    return Waited::Forgotten;
                }
            }
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Waited::UnderWay;
            }
            self.notifier.wait(generation, patience);
        }
    }

    /// What is to be done after anything happened: take the blocks that are
    /// due at `now`, keep an outcome, wake the worker for an event. Returns true when a
    /// resize ended.
    fn follow(&self, state: &mut State, now: u64) -> bool {
        let due = state.device.revocation_due(now);
        if due > 0 {
            // From here on it may be busy.
            self.published.lock().view = View::of(state);
            let granted = state.device.granted();
            // Every request needs the statistics, those in flight to these blocks to end.
            let mut stats = state.pick.needs_tracker().then(|| self.stats());
            let tracker = stats.as_mut().and_then(|stats| stats.tracker.as_mut());
            let picks = match state.given.take() {
                Some(given) => given,
                None => pick(state.pick, due, granted, tracker, &mut state.rng),
            };
            drop(stats);
            let held = state.device.granted().len();
            // A failure has been logged, and has ended the resize.
            let _ = state.device.revoke(&picks, now, &mut state.store);
            let after = state.device.granted().len();
            self.stats().counters.moved(held, after);
            state.device_ns += self.now_ns() - now;
        }
        if state.device.grant_due() > 0 {
            let held = state.device.granted().len();
            // As above.
            let _ = state.device.grant(now, &mut state.store);
            let after = state.device.granted().len();
            self.stats().counters.moved(held, after);
            state.device_ns += self.now_ns() - now;
        }
        state.device.tick(self.now_ns());
        if state.device.has_event() && self.is_connected() {
            // Full only if the worker has not looked for 2^64 - 1 wakeups.
            let _ = self.wake.write(1);
        }
        let activity = Activity::of(&state.device);
        self.activity.store(activity as u8, Ordering::Relaxed);
        let Some(outcome) = state.device.take_outcome() else {
            self.published.lock().view = View::of(state);
            return false;
        };
        let label = match outcome.end {
            End::Complete => COMPLETE,
            End::Partial(shortfall) => shortfall.label(),
        };
        {
            let counters = &mut self.stats().counters;
            counters.resizes += 1;
            *counters.resize_ends.entry(label).or_default() += 1;
        }
        state.finished.truncate(OUTCOMES_KEPT - 1);
        state.finished.push_front(Finished {
            outcome,
            block_size: self.geometry.block_size(),
            device_ns: state.device_ns,
            message_bytes: state.message_bytes,
        });
        *self.published.lock() = Published::of(state);
        true
    }
}

/// A thread waits for requests of a vSSD to end.
pub struct Draining<'a>(&'a Vssd);

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        self.0.drains.fetch_sub(1, Ordering::Relaxed);
        self.0.notifier.notify();
    }
}

impl State {
    /// How resize `id` ended, if it did and is not forgotten.
    pub fn finished(&self, id: u64) -> Option<&Finished> {
        self.finished.iter().find(|found| found.outcome.id == id)
    }

    /// The outcomes that are not forgotten, the last one first.
    pub fn all_finished(&self) -> &VecDeque<Finished> {
        &self.finished
    }
}
