//! One vSSD as the hypervisor holds it: the contract's [`Device`], its
//! [`Store`] and its counters behind one lock.
//!
//! The lock is held while a request moves its bytes. So a request sees the
//! ownership that it was checked against until it has ended, and a change of
//! ownership finds no request in flight: what [DEV-1] and [DEV-11] ask for.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use vmm_sys_util::eventfd::EventFd;
use vssd::device::{Device, Evict, Outcome, ResizeError, ResizeRequest};
use vssd::error::Reject;
use vssd::units::Geometry;
use vssd::wire::{Encoding, Opcode};

use crate::clock::Clock;
use crate::latency::{Activity, Latency};
use crate::pick::{HostPick, Observer, pick};
use crate::store::Store;

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

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests that succeeded.
    pub requests: u64,
    /// Bytes that they moved.
    pub bytes: u64,
}

/// What a vSSD has done since the backend started.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Reads.
    pub read: Tally,
    /// Writes.
    pub write: Tally,
    /// Discards and write-zeroes.
    pub zero: Tally,
    /// Flushes.
    pub flush: u64,
    /// Requests that the medium failed.
    pub io_errors: u64,
    /// Chains that were no request.
    pub bad_chains: u64,
    /// Requests and commands refused, by [`Reject::ALL`]'s order.
    pub rejects: [u64; Reject::ALL.len()],
    /// Resizes that ended.
    pub resizes: u64,
    /// Commands that were carried out.
    pub commands: u64,
}

impl Counters {
    /// Counts a refusal.
    pub fn reject(&mut self, reject: Reject) {
        let at = Reject::ALL.iter().position(|r| *r == reject);
        self.rejects[at.expect("ALL has all of them")] += 1;
    }
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
    /// It goes by requests that nobody observed.
    #[error(
        "nobody observes the requests that this pick goes by: start that first with `vssdctl observe`"
    )]
    NotObserved,
}

/// What a resize asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Blocks that the guest is to hold.
    pub target: u32,
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

/// What the lock guards.
pub struct State {
    /// The device's half of the contract.
    pub device: Device,
    /// Its bytes and the record of ownership.
    pub store: Store,
    /// What it has done.
    pub counters: Counters,
    /// How long requests took and had to wait.
    pub latency: Latency,
    /// True while a frontend (QEMU) is connected.
    pub connected: bool,
    /// When a medium error was logged last.
    pub failure_logged: Option<Instant>,
    /// Who remembers requests for the hypervisor's picks, if anybody does.
    pub observer: Option<Observer>,
    pick: HostPick,
    rng: SmallRng,
    finished: VecDeque<Finished>,
    device_ns: u64,
    message_bytes: u64,
}

/// One vSSD.
pub struct Vssd {
    /// What people call it.
    pub name: String,
    /// Where its frontend connects.
    pub socket: PathBuf,
    /// Its shape.
    pub geometry: Geometry,
    state: Mutex<State>,
    bell: Arc<Bell>,
    wake: EventFd,
    clock: Clock,
}

impl Vssd {
    /// A vSSD that nobody has connected to yet.
    pub fn new(
        name: String,
        socket: PathBuf,
        device: Device,
        store: Store,
        seed: u64,
        bell: Arc<Bell>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        Ok(Self {
            name,
            socket,
            geometry: device.geometry(),
            state: Mutex::new(State {
                device,
                store,
                counters: Counters::default(),
                latency: Latency::default(),
                connected: false,
                failure_logged: None,
                observer: None,
                pick: HostPick::default(),
                rng: SmallRng::seed_from_u64(seed),
                finished: VecDeque::new(),
                device_ns: 0,
                message_bytes: 0,
            }),
            bell,
            wake: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            clock,
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
        let served = state.device.command(request, room, now, &mut state.store);
        match served.result {
            Ok(_) => state.counters.commands += 1,
            Err(reject) => state.counters.reject(reject),
        }
        let new_driver = matches!(served.result, Ok(Opcode::Hello | Opcode::Confirm));
        state.message_bytes += (request.len() + served.response.len()) as u64;
        answer(served.response);
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
        let observed = state.observer.as_ref().map(Observer::serves);
        if wish.pick.is_some_and(HostPick::needs_observer) && observed != wish.pick {
            return Err(StartError::NotObserved);
        }
        let now = self.now_ns();
        let request = ResizeRequest {
            target: wish.target,
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
        self.lock().observer = observer;
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
            let activity = Activity::of(&state.device);
            let granted = state.device.granted();
            let observer = state.observer.as_mut();
            let picks = pick(state.pick, due, granted, observer, &mut state.rng);
            // A failure has been logged, and has ended the resize.
            let _ = state.device.revoke(&picks, now, &mut state.store);
            let revocation_ns = self.now_ns() - now;
            state.device_ns += revocation_ns;
            state.latency.stalled(activity, revocation_ns);
        }
        state.device.tick(self.now_ns());
        if state.device.event_pending() && state.connected {
            // Full only if the worker has not looked for 2^64 - 1 wakeups.
            let _ = self.wake.write(1);
        }
        let Some(outcome) = state.device.take_outcome() else {
            return false;
        };
        state.counters.resizes += 1;
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

    /// A request is about to touch these blocks, given as first and count.
    #[inline]
    pub fn accessed(&mut self, (first, count): (u32, u32)) {
        if let Some(observer) = &mut self.observer {
            observer.accessed(first, count);
        }
    }

    /// The outcome that came last.
    pub fn last_finished(&self) -> Option<&Finished> {
        self.finished.front()
    }
}
