//! The request thread of a worker: virtqueue, requests under way, notifications.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;

use vhost_user_backend::VringT;
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};

use super::vring::Vring;
use super::{AGAIN, COMMITS, QUEUE_SIZE, Worker, broken};
use crate::polling::Poller;
use crate::request::{Chain, Pass, RequestQueue};
use crate::stats::Polls;

/// Chains that are taken from a queue before ended requests are handled, and requests that end
/// before the guest is notified while there are more.
const BATCH: usize = 32;

/// A split virtqueue's used ring: bytes of its header and of an entry (virtio 1.2, 2.7.8).
const USED_HEADER_LEN: u64 = 4;
const USED_ENTRY_LEN: u64 = 8;

/// How long the request thread serves requests before it checks for other events.
const STINT_NS: u64 = 1_000_000;

/// The result of a pass: requests, and whether the virtqueue could be read.
struct Served {
    taken: usize,
    ended: usize,
    result: io::Result<()>,
}

/// The state of the request thread.
pub(super) struct Requests {
    pub queue: RequestQueue,
    /// The virtqueue, once it was kicked.
    pub vring: Option<Vring>,
    pub poller: Poller,
}

impl Worker {
    /// Serves requests until another event needs attention.
    ///
    /// While requests follow each other quickly, the thread busy-polls the ring and the engine,
    /// within the limits of its poller. Otherwise it sleeps in the engine, which waits for every
    /// event of the thread: sleeping, waking up and submitting the next transfers is one system
    /// call.
    fn serve_requests(&self, vring: &Vring) -> io::Result<()> {
        let mut requests = self.requests.lock();
        let Requests {
            queue,
            vring: known,
            poller,
        } = &mut *requests;
        if known.is_none() {
            *known = Some(vring.clone());
            // A backend that was killed may have published entries without a notification, and a
            // guest that waits for the first of them is not notified of later ones (virtio 1.2,
            // 2.7.7).
            vring.signal_used_queue()?;
        }
        self.disable_notifications(vring)?;
        let served = self.serve_until_disturbed(queue, vring, poller);
        queue.kick();
        self.count_polls(poller);
        served
    }

    fn serve_until_disturbed(
        &self,
        queue: &mut RequestQueue,
        vring: &Vring,
        poller: &mut Poller,
    ) -> io::Result<()> {
        let began_ns = self.vssd.now_ns();
        let mut unsignalled = 0;
        loop {
            let Served {
                taken,
                ended,
                result,
            } = self.pass(queue, vring, poller);
            unsignalled += ended;
            let now_ns = self.vssd.now_ns();
            let stint_over = now_ns - began_ns > STINT_NS;
            if taken >= BATCH {
                queue.kick();
            }
            // Waking the guest costs more than serving it: it is woken when there is nothing more
            // to serve, or when it has enough to work on.
            if unsignalled > 0 && (taken == 0 || unsignalled >= BATCH || stint_over) {
                queue.kick();
                signal(vring)?;
                unsignalled = 0;
            }
            if result.is_err() {
                vring.enable_notification().map_err(broken)?;
                return result;
            }
            if stint_over {
                // Full only after 2^64 - 1 stints.
                let _ = self.again.write(1);
                return Ok(());
            }
            if taken + ended > 0 {
                continue;
            }
            // A stopped queue is not waited for: the thread that stopped it waits for this one.
            if !self.is_serving(vring) {
                return Ok(());
            }
            if poller.should_poll(now_ns) {
                queue.kick();
                thread::yield_now();
                poller.let_others_run(now_ns, self.vssd.now_ns());
                continue;
            }
            if queue.len() < QUEUE_SIZE && self.has_available(vring)? {
                continue;
            }
            self.count_polls(poller);
            if !queue.park() {
                return self.serve_once(queue, vring, poller);
            }
            self.disable_notifications(vring)?;
        }
    }

    /// Serves available requests before the source of the wakeup is known: mostly a new request. So
    /// the backing works on it while the thread asks the system for its events.
    fn serve_once(
        &self,
        queue: &mut RequestQueue,
        vring: &Vring,
        poller: &mut Poller,
    ) -> io::Result<()> {
        let served = self.pass(queue, vring, poller);
        queue.kick();
        if served.ended > 0 {
            signal(vring)?;
        }
        served.result
    }

    fn count_polls(&self, poller: &mut Poller) {
        let Polls { found, vain } = poller.take_polls();
        let polls = &mut self.vssd.stats().counters.polls;
        polls.found += found;
        polls.vain += vain;
    }

    /// Asks the guest not to notify of what it makes available.
    fn disable_notifications(&self, vring: &Vring) -> io::Result<()> {
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
    fn has_available(&self, vring: &Vring) -> io::Result<bool> {
        let more = vring.enable_notification().map_err(broken)?;
        if more {
            self.disable_notifications(vring)?;
        }
        Ok(more)
    }

    /// One pass over the queue.
    fn pass(&self, queue: &mut RequestQueue, vring: &Vring, poller: &mut Poller) -> Served {
        let room = QUEUE_SIZE.saturating_sub(queue.len()).min(BATCH);
        let mut pass = Pass::begin(&self.vssd, queue);
        let (mut taken, mut ended) = (0, 0);
        let mut result = self.take(vring, &mut pass, room, &mut taken);
        pass.poll();
        let intact = self.memory_is_intact();
        while intact.is_ok()
            && let Some(done) = pass.pop()
        {
            // An invalid head cannot have a used entry: that chain is dropped, the others continue.
            if vring.add_used(done.head, done.len).is_err() {
                pass.bad_chain();
            }
            ended += 1;
        }
        drop(pass);
        result = result.and(intact);
        if taken + ended > 0 {
            poller.found(self.vssd.now_ns());
        }
        Served {
            taken,
            ended,
            result,
        }
    }

    /// Takes at most `room` chains from the virtqueue.
    ///
    /// # Errors
    /// When the guest claims to have made more available than its ring holds: the ring is then
    /// meaningless, and nothing is served before the next kick.
    fn take(
        &self,
        vring: &Vring,
        pass: &mut Pass<'_>,
        room: usize,
        taken: &mut usize,
    ) -> io::Result<()> {
        let mut state = vring.get_mut();
        let queue = state.get_queue_mut();
        if room == 0 || !queue.ready() {
            return Ok(());
        }
        if self.lost.load(Ordering::Relaxed) || self.connection.is_over() {
            return Ok(());
        }
        let memory = self.memory.memory();
        for chain in queue.iter(memory.clone()).map_err(broken)?.take(room) {
            *taken += 1;
            let head = chain.head_index();
            let chain = Chain::collect(chain, &memory);
            // SAFETY: the buffers lie in the memory that the clone keeps mapped.
            #[allow(unsafe_code)]
            unsafe {
                pass.push(head, chain, Some(memory.clone()));
            }
        }
        Ok(())
    }

    /// Ends every request that is under way.
    pub fn drain_requests(&self) {
        // Its thread may be asleep and hold the lock.
        let _ = self.again.write(1);
        let mut requests = self.requests.lock();
        let Requests { queue, vring, .. } = &mut *requests;
        let Some(vring) = vring else { return };
        let _draining = (!queue.is_empty()).then(|| self.vssd.draining());
        while !queue.is_empty() {
            queue.wait(&self.vssd);
            let mut pass = Pass::begin(&self.vssd, queue);
            pass.poll();
            let intact = self.memory_is_intact().is_ok();
            while let Some(done) = pass.pop() {
                if intact && vring.add_used(done.head, done.len).is_err() {
                    pass.bad_chain();
                }
            }
        }
        // A frontend that has disconnected is not notified.
        let _ = signal(vring);
    }

    /// Abandons every request that is under way, as a dead thread left them: the next frontend
    /// sends them again.
    pub fn abandon_requests(&self) {
        // Its thread may be asleep, if another died.
        let _ = self.again.write(1);
        self.requests.lock().queue.abandon(&self.vssd);
    }

    pub(super) fn handle_request_event(&self, event: u16, vrings: &[Vring]) -> io::Result<()> {
        // It may have been read before.
        let _ = match event {
            COMMITS => self.requests.lock().queue.commits().event().read(),
            AGAIN => self.again.read(),
            _ => Ok(0),
        };
        if !self.is_serving(&vrings[0]) {
            return Ok(());
        }
        self.serve_requests(&vrings[0])
    }
}

fn signal(vring: &Vring) -> io::Result<()> {
    if vring.needs_notification().map_err(broken)? {
        vring.signal_used_queue()?;
    }
    Ok(())
}
