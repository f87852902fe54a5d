//! One vSSD as the hypervisor holds it: the contract's [`Device`], the volume
//! that is its storage, and what is known of its requests.
//!
//! Resizes and requests hardly meet. The device is behind one lock, which no
//! request takes; what is counted of requests is behind another, which a turn of
//! requests takes once. That no request is in flight to blocks which change hands,
//! as [DEV-1] and [DEV-11] ask for, is the volume's affair.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use vmm_sys_util::eventfd::EventFd;
use vssd::device::{Device, End, Evict, Outcome, ResizeError, ResizeRequest};
use vssd::units::Geometry;
use vssd::wire::{Encoding, Opcode};

use crate::clock::Clock;
use crate::latency::Activity;
use crate::pick::{HostPick, Observer, pick};
use crate::pool::ledger::Denied;
use crate::pool::volume::Volume;
use crate::pool::{Pool, Store};
use crate::stats::Stats;

/// How a resize ended that moved all that was asked for, in a word.
pub const COMPLETE: &str = "complete";

/// Outcomes that are kept for whoever waits for one.
const OUTCOMES_KEPT: usize = 16;

/// Wakes everybody who waits for a change of any vSSD.
#[derive(Default)]
pub struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// Wakes the waiters.
    pub fn ring(&self) {
        *lock(&self.rings) += 1;
        self.rung.notify_all();
    }

    /// How often it has rung: look at this before looking at what may change.
    pub fn rings(&self) -> u64 {
        *lock(&self.rings)
    }

    /// Waits until it has rung more often than `seen`, or `at_most` has passed.
    pub fn wait(&self, seen: u64, at_most: Duration) {
        let rings = lock(&self.rings);
        // A spurious or late wakeup makes the caller look once more, no more.
        let _ = self
            .rung
            .wait_timeout_while(rings, at_most, |rings| *rings <= seen)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Locks, also after a thread panicked with the lock: each holder leaves what
/// it guards consistent before anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A resize that ended, with what it cost here.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
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
}

/// Why a resize did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The device refused it.
    #[error("{0}")]
    Device(ResizeError),
    /// The pool did.
    #[error("{0}")]
    Denied(Denied),
    /// More is to be taken than there is.
    #[error("{by} blocks were to be taken, but {held} are held: ask for at most that")]
    Below {
        /// Blocks to be taken.
        by: u64,
        /// Blocks held.
        held: u32,
    },
    /// It would be larger than it can be.
    #[error("{target} blocks were asked for, but the vSSD has {capacity} at most")]
    Beyond {
        /// Blocks asked for.
        target: u64,
        /// Blocks there are.
        capacity: u32,
    },
    /// It goes by requests that nobody observed.
    #[error(
        "nobody observes the requests that this pick goes by: start that first with `vssdctl observe`"
    )]
    NotObserved,
}

/// How many blocks a guest is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// So many.
    To(u64),
    /// So many fewer than it does.
    Shrink(u64),
    /// So many more than it does.
    Grow(u64),
}

impl Target {
    /// The number of blocks, given how many are held.
    fn blocks(self, held: u32, capacity: u32) -> Result<u32, StartError> {
        let target = match self {
            Self::To(blocks) => blocks,
            Self::Grow(by) => u64::from(held).saturating_add(by),
            Self::Shrink(by) => u64::from(held)
                .checked_sub(by)
                .ok_or(StartError::Below { by, held })?,
        };
        let fits = u32::try_from(target).ok().filter(|t| *t <= capacity);
        fits.ok_or(StartError::Beyond { target, capacity })
    }
}

/// What a resize asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Blocks that the guest is to hold.
    pub target: Target,
    /// How the hypervisor picks the blocks of a shrink; `None` asks the guest.
    pub pick: Option<HostPick>,
    /// How long the guest may be asked.
    pub deadline: Option<Duration>,
    /// Whether the hypervisor takes what the guest did not give by then, each
    /// block equally likely.
    pub revoke: bool,
    /// Seed of the hypervisor's picks.
    pub seed: Option<u64>,
}

/// What resizes are about.
pub struct State {
    /// The device's half of the contract.
    pub device: Device,
    /// Where changes of ownership go.
    store: Store,
    /// True while a frontend (QEMU) is connected.
    pub connected: bool,
    pick: HostPick,
    rng: SmallRng,
    finished: VecDeque<Finished>,
    device_ns: u64,
    message_bytes: u64,
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
    pub bell: Arc<Bell>,
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
    stats: Mutex<Stats>,
    /// What the device is doing, as [`Activity::ALL`]'s index.
    activity: AtomicU8,
    /// Whether a write is to last when it ends: the driver knows no flush.
    writes_through: AtomicBool,
    bell: Arc<Bell>,
    wake: EventFd,
    clock: Clock,
}

impl Vssd {
    /// A vSSD that nobody has connected to yet, whose storage is `volume` of
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
        let state = State {
            device: Device::new(geometry, volume.held(), encoding, seed),
            store: Store {
                pool: pool.clone(),
                volume: volume.clone(),
            },
            connected: false,
            pick: HostPick::default(),
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
            state: Mutex::new(state),
            stats: Mutex::default(),
            activity: AtomicU8::new(Activity::Quiet as u8),
            writes_through: AtomicBool::new(false),
            bell: context.bell,
            wake: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            clock: context.clock,
        })
    }

    /// Nanoseconds on the clock of this vSSD's deadlines.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// The state, locked.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What is known of its requests, locked.
    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        lock(&self.stats)
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
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// What wakes the worker when an event is due.
    pub fn wake(&self) -> &EventFd {
        &self.wake
    }

    /// Carries out a command of the driver; `answer` takes the response.
    pub fn command(&self, request: &[u8], room: usize, answer: impl FnOnce(&[u8])) {
        let mut guard = self.lock();
        let state = &mut *guard;
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
        let ended = self.follow(state);
        // The clock sleeps until the deadline it was last told.
        let new_deadline = state.device.next_deadline_ns() != deadline;
        drop(guard);
        if ended || new_driver || new_deadline {
            self.bell.ring();
        }
    }

    /// Starts a resize and returns its id; its deadline counts from now.
    pub fn resize(&self, wish: Wish) -> Result<u64, StartError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let observed = self.stats().observer.as_ref().map(Observer::serves);
        if wish.pick.is_some_and(HostPick::needs_observer) && observed != wish.pick {
            return Err(StartError::NotObserved);
        }
        let held = state.device.granted().len();
        let target = wish.target.blocks(held, self.geometry.capacity())?;
        let more = target.saturating_sub(held);
        self.pool
            .may_hold(&self.volume, more)
            .map_err(StartError::Denied)?;
        let now = self.now_ns();
        let request = ResizeRequest {
            target,
            evict: match wish.pick {
                None => Evict::Guest,
                Some(_) => Evict::Host,
            },
            deadline_ns: wish.deadline.map(|patience| {
                now.saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
            }),
            revoke: wish.revoke,
        };
        let id = state
            .device
            .resize(request, now)
            .map_err(StartError::Device)?;
        state.pick = wish.pick.unwrap_or_default();
        if let Some(seed) = wish.seed {
            state.rng = SmallRng::seed_from_u64(seed);
        }
        state.device_ns = 0;
        state.message_bytes = 0;
        self.follow(state);
        drop(guard);
        self.bell.ring();
        Ok(id)
    }

    /// From now on remembers requests for `pick`, or for none. What was
    /// remembered before is forgotten.
    pub fn observe(&self, pick: Option<HostPick>) {
        let observer = pick.and_then(|pick| Observer::new(pick, self.geometry.capacity()));
        self.stats().observer = observer;
    }

    /// Cancels the resize under way; returns its id.
    pub fn cancel(&self) -> Option<u64> {
        let mut state = self.lock();
        let id = state.device.cancel(self.now_ns());
        self.follow(&mut state);
        drop(state);
        self.bell.ring();
        id
    }

    /// Sets how block sets travel; the driver starts a new session for it.
    pub fn set_encoding(&self, encoding: Encoding) {
        let mut state = self.lock();
        state.device.set_encoding(encoding);
        self.follow(&mut state);
        drop(state);
        self.bell.ring();
    }

    /// Notes that time has passed; returns when to come again.
    pub fn tick(&self) -> Option<Duration> {
        let mut state = self.lock();
        let ended = self.follow(&mut state);
        let next = state.device.next_deadline_ns();
        drop(state);
        if ended {
            self.bell.ring();
        }
        next.map(|at| Duration::from_nanos(at.saturating_sub(self.now_ns())))
    }

    /// A frontend came or went.
    pub fn set_connected(&self, connected: bool) {
        let mut state = self.lock();
        state.connected = connected;
        if connected {
            state.device.reconnected();
            self.follow(&mut state);
        }
        drop(state);
        self.bell.ring();
    }

    /// Waits for the end of resize `id`, at most until `until`.
    pub fn wait_for(&self, id: u64, until: Instant) -> Waited {
        loop {
            let rings = self.bell.rings();
            {
                let state = self.lock();
                if let Some(found) = state.finished(id) {
                    return Waited::Ended(*found);
                }
                if state.device.resize_under_way().is_none_or(|r| r.id != id) {
                    return Waited::Forgotten;
                }
            }
            let patience = until.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Waited::UnderWay;
            }
            self.bell.wait(rings, patience);
        }
    }

    /// What is to be done after anything happened: take the blocks that are
    /// due, keep an outcome, wake the worker for an event. Returns true when a
    /// resize ended.
    fn follow(&self, state: &mut State) -> bool {
        let now = self.now_ns();
        let due = state.device.revocation_due(now);
        if due > 0 {
            let granted = state.device.granted();
            // Every request needs the statistics, those in flight to these blocks to end.
            let mut stats = state.pick.needs_observer().then(|| self.stats());
            let observer = stats.as_mut().and_then(|stats| stats.observer.as_mut());
            let picks = pick(state.pick, due, granted, observer, &mut state.rng);
            drop(stats);
            let held = state.device.granted().len();
            // A failure has been logged, and has ended the resize.
            let _ = state.device.revoke(&picks, now, &mut state.store);
            let after = state.device.granted().len();
            self.stats().counters.moved(held, after);
            state.device_ns += self.now_ns() - now;
        }
        state.device.tick(self.now_ns());
        if state.device.event_pending() && state.connected {
            // Full only if the worker has not looked for 2^64 - 1 wakeups.
            let _ = self.wake.write(1);
        }
        let activity = Activity::of(&state.device);
        self.activity.store(activity as u8, Ordering::Relaxed);
        let Some(outcome) = state.device.take_outcome() else {
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
            device_ns: state.device_ns,
            message_bytes: state.message_bytes,
        });
        true
    }
}

impl State {
    /// How resize `id` ended, if it did and is not forgotten.
    pub fn finished(&self, id: u64) -> Option<&Finished> {
        self.finished.iter().find(|found| found.outcome.id == id)
    }

    /// The outcome that came last.
    pub fn last_finished(&self) -> Option<&Finished> {
        self.finished.front()
    }
}
