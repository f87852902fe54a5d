//! What changes the blocks that a vSSD holds: the driver's commands, resizes and their deadlines.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use vssd::advice::Advice;
use vssd::block_set::BlockSet;
use vssd::demand::Demand;
use vssd::device::{self, End, PickedBy, ResizeError, Shortfall};
use vssd::wire::Opcode;
use workloads::{HostPick, Pick};

use super::{State, Vssd};
use crate::latency::Activity;
use crate::pick::{Tracker, pick};
use crate::resize_request::{Answers, ResizeRequest, StartError, Target, Unforced};
use crate::scheduling::let_others_first;
use crate::size::Blocks;
use crate::threads::survive;
use crate::transport::Transport;
use crate::view::Finished;

/// The label of a resize that moved everything requested.
pub const COMPLETE: &str = "complete";

/// Outcomes that are kept for threads that wait for one.
const OUTCOMES_KEPT: usize = 16;

/// When to look again at a vSSD that was busy.
const BUSY_INTERVAL: Duration = Duration::from_millis(10);

/// When to retry a revocation that failed.
const REVOKE_INTERVAL: Duration = Duration::from_secs(1);

/// The result of waiting for a resize.
#[derive(Clone, Copy, Debug)]
pub enum Waited {
    /// It ended.
    Ended(Finished),
    /// It is still under way.
    UnderWay,
    /// It ended so long ago that its outcome was discarded.
    Forgotten,
    /// The vSSD is not served any more.
    Removed,
}

impl Vssd {
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
        }
        self.moved(held, state);
        let is_awaited = matches!(result, Ok(Opcode::Hello | Opcode::Confirm | Opcode::Report));
        state.message_bytes += message_bytes as u64;
        state.device_ns += self.now_ns() - now;
        let ended = self.follow(state, self.now_ns());
        // The clock sleeps until the last deadline that it was given.
        let new_deadline = state.device.next_deadline_ns() != deadline;
        drop(guard);
        if ended || is_awaited || new_deadline {
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
    /// Those of any resize, and when the guest does not hold one of the blocks.
    pub fn take(&self, blocks: BlockSet, request: ResizeRequest) -> Result<u64, StartError> {
        let request = ResizeRequest {
            target: Target::Shrink(blocks.len().into()),
            pick: Pick::Host(HostPick::Given),
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
        let host_pick = request.pick.of_host();
        if let Some(pick) = host_pick
            && pick.needs_tracker()
            && tracked != host_pick
        {
            return Err(StartError::NotTracked(pick));
        }
        let held = state.device.granted().len();
        let (capacity, block_size) = (self.geometry.capacity(), self.geometry.block_size());
        let target = request.target.blocks(held, capacity, block_size)?;
        let more = target.saturating_sub(held);
        self.pool.may_hold(&self.volume, more)?;
        let now = self.now_ns();
        let revoke = self.may_revoke(state, target, &request)?;
        // Without a frontend there is no guest to wait for.
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
            picked_by: match request.pick {
                Pick::Guest => PickedBy::Guest,
                Pick::Host(_) => PickedBy::Host,
            },
            deadline_ns: deadline.map(|patience| {
                now.saturating_add(u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX))
            }),
            revoke,
            force: request.force,
        };
        let id = match state.device.resize(for_device, now) {
            Err(ResizeError::NoDriver) => {
                return Err(self
                    .unforced(state, Answers::No, held.saturating_sub(target))
                    .into());
            }
            started => started?,
        };
        state.given = given;
        state.pick = host_pick.unwrap_or_default();
        if let Some(seed) = request.seed {
            state.rng = SmallRng::seed_from_u64(seed);
        }
        state.device_ns = 0;
        state.message_bytes = 0;
        state.withholds = request.revoke && !revoke;
        self.follow(state, self.now_ns());
        drop(guard);
        self.notifier.notify();
        Ok(id)
    }

    /// Whether the deadline of a shrink takes what the guest has not given up.
    ///
    /// A cache with a driver of its own can do without any block. The file system that an agent
    /// speaks for cannot: a revoked block is an I/O error in its middle. So nothing is taken from it
    /// unless that is forced, and the deadline then only ends the shrink.
    ///
    /// # Errors
    /// When blocks are to be taken at once, or no agent is there that could give them.
    fn may_revoke(
        &self,
        state: &State,
        target: u32,
        request: &ResizeRequest,
    ) -> Result<bool, Unforced> {
        let wanted = state.device.granted().len().saturating_sub(target);
        let is_driver = self.transport == Transport::Virtqueues;
        if is_driver || request.force || wanted == 0 {
            return Ok(request.revoke);
        }
        let takes = request.revoke && request.deadline.is_some();
        let answers = if state.device.has_session() {
            Answers::Agent
        } else {
            Answers::No
        };
        match request.pick {
            Pick::Host(_) => Err(self.unforced(state, answers, wanted)),
            Pick::Guest if takes && answers == Answers::No => {
                Err(self.unforced(state, answers, wanted))
            }
            Pick::Guest => Ok(false),
        }
    }

    /// What a shrink by `wanted` blocks would lose that the guest does not give.
    fn unforced(&self, state: &State, answers: Answers, wanted: u32) -> Unforced {
        let blocks = |count: u32| Blocks {
            count: count.into(),
            block_size: self.geometry.block_size(),
        };
        Unforced {
            connected: self.is_connected(),
            transport: self.transport.clone(),
            answers,
            wanted: blocks(wanted),
            held: blocks(state.device.granted().len()),
            written: blocks(self.pool.account(&self.volume).unwrap_or_default().owned),
        }
    }

    /// Asks the driver for a report of its demand; returns the number of those that came before. No
    /// driver need answer.
    pub fn request_report(&self) -> u64 {
        let mut state = self.lock();
        let (before, _) = state.device.last_report();
        if !self.is_removed() {
            state.device.request_report();
            self.follow(&mut state, self.now_ns());
        }
        drop(state);
        self.notifier.notify();
        before
    }

    /// Advises a cache on the vSSD from now on.
    pub fn advise(&self, advice: Advice) {
        let mut state = self.lock();
        state.device.advise(advice);
        self.follow(&mut state, self.now_ns());
        drop(state);
        self.notifier.notify();
    }

    /// The demand that the driver reported after the first `before` reports, if it has sent one more;
    /// `None` in it if it had nothing to report.
    pub fn report_after(&self, before: u64) -> Option<Option<Demand>> {
        let state = self.lock();
        let (reports, demand) = state.device.last_report();
        (reports > before).then(|| demand.cloned())
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

    /// Handles elapsed deadlines; returns when to call again.
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

    /// As [`tick`](Self::tick), for a thread that must not block. A revocation, which may block,
    /// gets a thread of its own.
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
                tracing::error!(
                    vssd = %self.name,
                    %error,
                    times,
                    "the thread for a revocation could not be started"
                );
            }
            return Some(REVOKE_INTERVAL);
        }
        // Its end notifies.
        None
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

    /// Counts the blocks that changed ownership since the guest held `before`, and reports them to
    /// the tracker.
    fn moved(&self, before: u32, state: &State) {
        let granted = state.device.granted();
        if granted.len() == before {
            return;
        }
        let stats = &mut *self.stats();
        stats.counters.moved(before, granted.len());
        if let Some(tracker) = &mut stats.tracker {
            tracker.follow(granted);
        }
    }

    /// Acts on the state after any change: takes the blocks that are due at `now`, keeps an
    /// outcome, wakes the worker for an event. Returns true when a resize ended.
    pub(super) fn follow(&self, state: &mut State, now: u64) -> bool {
        let due = state.device.revocation_due(now);
        if due > 0 {
            // From here on it may be busy.
            self.published.lock().view = state.view();
            let granted = state.device.granted();
            // Dropped below, as requests in flight to these blocks need the statistics to end.
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
            self.moved(held, state);
            state.device_ns += self.now_ns() - now;
        }
        if state.device.grant_due() > 0 {
            let held = state.device.granted().len();
            // As above.
            let _ = state.device.grant(now, &mut state.store);
            self.moved(held, state);
            state.device_ns += self.now_ns() - now;
        }
        state.device.tick(self.now_ns());
        if state.device.has_event() && self.hears_events() {
            self.wake.wake();
        }
        let activity = Activity::of(&state.device);
        self.activity.store(activity as u8, Ordering::Relaxed);
        let Some(outcome) = state.device.take_outcome() else {
            self.published.lock().view = state.view();
            return false;
        };
        let label = match outcome.end {
            End::Complete => COMPLETE,
            End::Partial(shortfall) => shortfall.label(),
        };
        {
            let counters = &mut self.stats().counters;
            counters.resizes += 1;
            counters.revoked += u64::from(outcome.revoked);
            *counters.resize_ends.entry(label).or_default() += 1;
        }
        state.finished.truncate(OUTCOMES_KEPT - 1);
        state.finished.push_front(Finished {
            outcome,
            block_size: self.geometry.block_size(),
            device_ns: state.device_ns,
            message_bytes: state.message_bytes,
            withheld: state.withholds
                && matches!(
                    outcome.end,
                    End::Partial(Shortfall::Deadline | Shortfall::Declined)
                ),
        });
        *self.published.lock() = state.published();
        true
    }
}
