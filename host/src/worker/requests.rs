//! The request thread of a worker: virtqueues, requests under way, notifications.
//!
//! One thread serves all request queues of a vSSD. Requests to the same blocks may come by different
//! queues and wait for each other, and a resize waits for all that were checked before it: both would
//! need locks on the data path if several threads served them.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;

use parking_lot::MutexGuard;
use vhost_user_backend::VringT;
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use super::vring::Vring;
use super::{AGAIN, COMMITS, QUEUE_SIZE, Worker, broken};
use crate::polling::Poller;
use crate::request::{Chain, Origin, Pass, RequestQueue};
use crate::stats::Polls;
use smallvec::SmallVec;

/// Chains that are taken from a queue before ended requests are handled, and requests that end
/// before the guest is notified while there are more.
const BATCH: usize = 32;

/// A split virtqueue's used ring: bytes of its header and of an entry (virtio 1.2, 2.7.8).
const USED_HEADER_LEN: u64 = 4;
const USED_ENTRY_LEN: u64 = 8;

/// How long the request thread serves requests before it checks for other events.
const STINT_NS: u64 = 1_000_000;

/// The result of a pass: requests, and whether the guest's memory is intact.
struct Served {
    taken: usize,
    ended: usize,
    result: io::Result<()>,
}

/// The state of the request thread.
pub(super) struct Requests {
    pub queue: RequestQueue,
    pub lines: Lines,
    pub poller: Poller,
}

/// What is known of a request queue.
#[derive(Clone, Default)]
struct Line {
    /// The virtqueue, once it was served.
    vring: Option<Vring>,
    /// Entries that were published and the guest was not notified of.
    unsignalled: usize,
    /// Its ring has no meaning, or is not in memory: it is not served before the next event. The
    /// others are.
    is_broken: bool,
}

/// The request queues, by their numbers.
pub(super) struct Lines {
    lines: SmallVec<[Line; 1]>,
    /// The one that a pass takes from first: each in turn, so that a full engine starves none.
    first: usize,
}

impl Lines {
    /// None of them was served yet.
    pub fn new(count: usize) -> Self {
        Self {
            lines: smallvec::smallvec![Line::default(); count],
            first: 0,
        }
    }

    /// Publishes that a request has ended; false if its head is invalid, which no used entry can
    /// have: that chain is dropped, the others continue.
    fn publish(&mut self, origin: Origin, len: u32) -> bool {
        let line = &mut self.lines[usize::from(origin.queue)];
        line.unsignalled += 1;
        let vring = line.vring.as_ref().expect("a request came by it");
        vring.add_used(origin.head, len).is_ok()
    }

    fn unsignalled(&self) -> usize {
        self.lines.iter().map(|line| line.unsignalled).sum()
    }
}

impl Worker {
    /// Serves requests until another event needs attention.
    ///
    /// While requests follow each other quickly, the thread busy-polls the rings and the engine,
    /// within the limits of its poller. Otherwise it sleeps in the engine, which waits for every
    /// event of the thread: sleeping, waking up and submitting the next transfers is one system
    /// call.
    fn serve_requests(&self, vrings: &[Vring]) -> io::Result<()> {
        let mut requests = self.requests.lock();
        let Requests {
            queue,
            lines,
            poller,
        } = &mut *requests;
        for (line, vring) in lines.lines.iter_mut().zip(vrings) {
            line.is_broken = false;
            let is_started = self.is_serving(vring) && vring.get_ref().is_enabled();
            if line.vring.is_none() && is_started {
                line.vring = Some(vring.clone());
                // A backend that was killed may have published entries without a notification, and a
                // guest that waits for the first of them is not notified of later ones (virtio 1.2,
                // 2.7.7).
                self.attempt(line, Vring::signal_used_queue);
            }
        }
        self.disable_notifications(lines);
        let served = self.serve_until_disturbed(queue, lines, poller);
        queue.kick();
        self.count_polls(poller);
        // A thread that stops a queue goes first: this one would take the lock again at once.
        MutexGuard::unlock_fair(requests);
        served
    }

    /// The requests, for a thread that stops a queue.
    fn take_requests(&self) -> MutexGuard<'_, Requests> {
        self.stops.fetch_add(1, Ordering::SeqCst);
        // The request thread may be asleep and hold the lock.
        let _ = self.again.write(1);
        let requests = self.requests.lock();
        self.stops.fetch_sub(1, Ordering::SeqCst);
        requests
    }

    /// Does something with a queue unless it is broken; where that fails, it is.
    fn attempt<T>(&self, line: &mut Line, act: impl FnOnce(&Vring) -> io::Result<T>) -> Option<T> {
        let vring = line.vring.as_ref().filter(|_| !line.is_broken)?;
        act(vring)
            .inspect_err(|error| {
                line.is_broken = true;
                // Its next kick is the next chance.
                if self.is_serving(vring) {
                    let _ = vring.enable_notification();
                }
                tracing::debug!(vssd = %self.vssd.name, %error, "a queue could not be served");
            })
            .ok()
    }

    fn serve_until_disturbed(
        &self,
        queue: &mut RequestQueue,
        lines: &mut Lines,
        poller: &mut Poller,
    ) -> io::Result<()> {
        let began_ns = self.vssd.now_ns();
        loop {
            let Served {
                taken,
                ended,
                result,
            } = self.pass(queue, lines, poller);
            let now_ns = self.vssd.now_ns();
            let stint_over = now_ns - began_ns > STINT_NS;
            if taken >= BATCH {
                queue.kick();
            }
            // Waking the guest costs more than serving it: it is woken when there is nothing more
            // to serve, or when it has enough to work on.
            let unsignalled = lines.unsignalled();
            if unsignalled > 0 && (taken == 0 || unsignalled >= BATCH || stint_over) {
                queue.kick();
                self.signal(lines);
            }
            result?;
            if stint_over {
                // Full only after 2^64 - 1 stints.
                let _ = self.again.write(1);
                return Ok(());
            }
            if taken + ended > 0 {
                continue;
            }
            // A stopped queue is not waited for: the thread that stopped it waits for this one.
            let mut vrings = lines.lines.iter().filter_map(|line| line.vring.as_ref());
            if !vrings.any(|vring| self.is_serving(vring)) {
                return Ok(());
            }
            if poller.should_poll(now_ns) {
                queue.kick();
                thread::yield_now();
                poller.let_others_run(now_ns, self.vssd.now_ns());
                continue;
            }
            if queue.len() < QUEUE_SIZE && self.have_available(lines) {
                continue;
            }
            // It may stop one of several queues: the others are served afterwards.
            if self.stops.load(Ordering::SeqCst) > 0 {
                let _ = self.again.write(1);
                return Ok(());
            }
            self.count_polls(poller);
            if !queue.park() {
                return self.serve_once(queue, lines, poller);
            }
            self.disable_notifications(lines);
        }
    }

    /// Serves available requests before the source of the wakeup is known: mostly a new request. So
    /// the backing works on it while the thread asks the system for its events.
    fn serve_once(
        &self,
        queue: &mut RequestQueue,
        lines: &mut Lines,
        poller: &mut Poller,
    ) -> io::Result<()> {
        let served = self.pass(queue, lines, poller);
        queue.kick();
        self.signal(lines);
        served.result
    }

    fn count_polls(&self, poller: &mut Poller) {
        let Polls { found, vain } = poller.take_polls();
        let polls = &mut self.vssd.stats().counters.polls;
        polls.found += found;
        polls.vain += vain;
    }

    /// Notifies the guest of what was published, as far as it asked for that.
    fn signal(&self, lines: &mut Lines) {
        for line in &mut lines.lines {
            if std::mem::take(&mut line.unsignalled) > 0 {
                self.attempt(line, signal);
            }
        }
    }

    /// Asks the guest not to notify of what it makes available.
    fn disable_notifications(&self, lines: &mut Lines) {
        for line in &mut lines.lines {
            self.attempt(line, |vring| self.disable_notification(vring));
        }
    }

    fn disable_notification(&self, vring: &Vring) -> io::Result<()> {
        // The memory of a queue that is stopped is the guest's again.
        if !self.is_serving(vring) {
            return Ok(());
        }
        vring.disable_notification().map_err(broken)?;
        let state = vring.get_ref();
        let queue = state.get_queue();
        if queue.event_idx_enabled() {
            // The guest notifies of the entry whose index lies behind the used entries (virtio 1.2,
            // 2.7.10), and virtio-queue leaves one there that may be the next. The entry before
            // that has been taken, and comes again only after a full round of the ring.
            let passed = queue.next_avail().wrapping_sub(1).to_le();
            let behind = USED_HEADER_LEN + USED_ENTRY_LEN * u64::from(queue.size());
            let at = GuestAddress(queue.used_ring().wrapping_add(behind));
            // A ring that is not in memory cannot be served: taking from it fails.
            let _ = self.memory.memory().store(passed, at, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks the guest to notify of what it makes available from now on; true when something
    /// is available already.
    fn have_available(&self, lines: &mut Lines) -> bool {
        let mut more = false;
        for line in &mut lines.lines {
            let enable = |vring: &Vring| match self.is_serving(vring) {
                true => vring.enable_notification().map_err(broken),
                false => Ok(false),
            };
            more |= self.attempt(line, enable).unwrap_or(false);
        }
        if more {
            self.disable_notifications(lines);
        }
        more
    }

    /// One pass over the queues.
    fn pass(&self, queue: &mut RequestQueue, lines: &mut Lines, poller: &mut Poller) -> Served {
        let room = QUEUE_SIZE.saturating_sub(queue.len()).min(BATCH);
        let mut pass = Pass::begin(&self.vssd, queue);
        let (mut taken, mut ended) = (0, 0);
        let count = lines.lines.len();
        for number in (lines.first..count).chain(0..lines.first) {
            let room = room - taken;
            let take = |vring: &Vring| self.take(vring, number as u16, &mut pass, room, &mut taken);
            self.attempt(&mut lines.lines[number], take);
        }
        lines.first = (lines.first + 1) % count;
        pass.poll();
        let intact = self.memory_is_intact();
        while intact.is_ok()
            && let Some(done) = pass.pop()
        {
            if !lines.publish(done.origin, done.len) {
                pass.bad_chain();
            }
            ended += 1;
        }
        drop(pass);
        if taken + ended > 0 {
            poller.found(self.vssd.now_ns());
        }
        Served {
            taken,
            ended,
            result: intact,
        }
    }

    /// Takes at most `room` chains from the virtqueue of that number.
    ///
    /// # Errors
    /// When the guest claims to have made more available than its ring holds: the ring is then
    /// meaningless, and nothing is served before the next kick.
    fn take(
        &self,
        vring: &Vring,
        number: u16,
        pass: &mut Pass<'_>,
        room: usize,
        taken: &mut usize,
    ) -> io::Result<()> {
        let mut state = vring.get_mut();
        let is_enabled = state.is_enabled();
        let queue = state.get_queue_mut();
        if room == 0 || !queue.ready() || !is_enabled {
            return Ok(());
        }
        if self.lost.load(Ordering::Relaxed) || self.connection.is_over() {
            return Ok(());
        }
        let memory = self.memory.memory();
        for chain in queue.iter(memory.clone()).map_err(broken)?.take(room) {
            *taken += 1;
            let origin = Origin {
                queue: number,
                head: chain.head_index(),
            };
            let chain = Chain::collect(chain, &memory);
            // SAFETY: the buffers lie in the memory that the clone keeps mapped.
            #[allow(unsafe_code)]
            unsafe {
                pass.push(origin, chain, Some(memory.clone()));
            }
        }
        Ok(())
    }

    /// Ends every request that is under way.
    pub fn drain_requests(&self) {
        let mut requests = self.take_requests();
        let Requests { queue, lines, .. } = &mut *requests;
        let _draining = (!queue.is_empty()).then(|| self.vssd.draining());
        while !queue.is_empty() {
            queue.wait(&self.vssd);
            let mut pass = Pass::begin(&self.vssd, queue);
            pass.poll();
            let intact = self.memory_is_intact().is_ok();
            while let Some(done) = pass.pop() {
                if intact && !lines.publish(done.origin, done.len) {
                    pass.bad_chain();
                }
            }
        }
        // Whether or not they are served any longer; a frontend that has disconnected is not notified.
        for line in &mut lines.lines {
            if std::mem::take(&mut line.unsignalled) > 0
                && let Some(vring) = &line.vring
            {
                let _ = signal(vring);
            }
        }
    }

    /// Abandons every request that is under way, as a dead thread left them: the next frontend
    /// sends them again.
    pub fn abandon_requests(&self) {
        self.take_requests().queue.abandon(&self.vssd);
    }

    pub(super) fn handle_request_event(&self, event: u16, vrings: &[Vring]) -> io::Result<()> {
        // It may have been read before.
        let _ = match event {
            COMMITS => self.requests.lock().queue.commits().event().read(),
            AGAIN => self.again.read(),
            _ => Ok(0),
        };
        if !vrings.iter().any(|vring| self.is_serving(vring)) {
            return Ok(());
        }
        self.serve_requests(vrings)
    }
}

fn signal(vring: &Vring) -> io::Result<()> {
    if vring.needs_notification().map_err(broken)? {
        vring.signal_used_queue()?;
    }
    Ok(())
}
