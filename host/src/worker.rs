//! The vhost-user side of a vSSD: the only module that knows virtqueues.
//!
//! One [`Worker`] lives as long as one connection of a frontend. One of its threads
//! serves the requests, the other the commands and events, so that a resize keeps no
//! request waiting. Used entries are published in the order in which the guest made
//! the buffers available, because a frontend that reconnects replays everything
//! after the last published one.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringRwLock, VringT};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};
use vmm_sys_util::eventfd::EventFd;
use vssd::wire::{EVENT_LEN, MAX_MESSAGE, MAX_PAYLOAD, REQUEST_HEADER_LEN};

use crate::config_space::{CONFIG_LEN, QUEUES, config_space};
use crate::connection::Connection;
use crate::guest_memory::{self, Watch};
use crate::polling::{Poller, Polling};
use crate::request::{Chain, MemoryGuard, Pass, RequestQueue};
use crate::scheduling::let_others_first;
use crate::stats::Polls;
use crate::vssd::Vssd;

/// The threads of a worker, and the queues of each as bits.
const REQUEST_THREAD: usize = 0;
const QUEUES_PER_THREAD: [u64; 2] = [0b001, 0b110];

/// Queues as the device numbers them.
const REQUESTS: u32 = 0;
/// Queues as their thread numbers them.
const EVENTS: u16 = 0;
const COMMANDS: u16 = 1;
/// Other events, behind the queues and the one that vhost-user-backend keeps
/// for itself: an event for the guest is due;
const WAKE: u16 = QUEUES as u16 + 1;
/// a commit is over;
const COMMITS: u16 = WAKE + 1;
/// the request thread has more to do.
const AGAIN: u16 = COMMITS + 1;

const QUEUE_SIZE: usize = 1024;

/// Chains that are taken from a queue before what has ended is looked at, and
/// requests that end before the guest is notified while there are more.
const BATCH: usize = 32;

/// A split virtqueue's used ring: bytes before its entries, and of an entry
/// (virtio 1.2, 2.7.8).
const USED_HEADER_LEN: u64 = 4;
const USED_ENTRY_LEN: u64 = 8;

/// How long the request thread serves requests before it checks for other events.
const STINT_NS: u64 = 1_000_000;

/// How often it is looked, while a command is waited for, whether its thread still lives.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The memory of a guest.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// What a pass came to: requests, and whether the virtqueue could be read.
struct Served {
    taken: usize,
    ended: usize,
    result: io::Result<()>,
}

/// What the request thread works with.
struct Requests {
    queue: RequestQueue,
    /// The virtqueue, once it was kicked.
    vring: Option<VringRwLock>,
    poller: Poller,
}

/// The backend of one connection.
pub struct Worker {
    vssd: Arc<Vssd>,
    memory: Memory,
    requests: Mutex<Requests>,
    /// The last command, since there was one; locked while commands and events are
    /// looked at.
    command: Mutex<Option<Vec<u8>>>,
    connection: Arc<Connection>,
    again: EventFd,
    exit: EventFd,
    watch: Watch,
    /// A part of the guest's memory is gone: nothing is acknowledged any more.
    lost: AtomicBool,
}

fn event() -> io::Result<EventFd> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
}

impl Worker {
    /// Serves `vssd` to the frontend of `connection`, whose memory will be in `memory`; its
    /// request thread may look for requests as far as `polling` lets it.
    ///
    /// # Errors
    /// When the system does not provide what its engine or its events need.
    pub fn new(
        vssd: Arc<Vssd>,
        memory: Memory,
        polling: Arc<Polling>,
        connection: Arc<Connection>,
    ) -> io::Result<Self> {
        let requests = Requests {
            queue: RequestQueue::new(&vssd)?,
            vring: None,
            poller: Poller::new(polling),
        };
        Ok(Self {
            requests: Mutex::new(requests),
            vssd,
            memory,
            command: parking_lot::Mutex::default(),
            connection,
            again: event()?,
            exit: event()?,
            watch: Watch::default(),
            lost: AtomicBool::new(false),
        })
    }

    /// Makes sure that all of the guest's memory is still there; otherwise ends the connection.
    ///
    /// Called after work with that memory, before its results are published.
    ///
    /// # Errors
    /// When a part is gone.
    fn memory_is_intact(&self) -> io::Result<()> {
        if self.watch.is_intact(self.memory.clone()) && !self.lost.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !self.lost.swap(true, Ordering::SeqCst) {
            tracing::warn!(
                vssd = %self.vssd.name,
                "a part of the guest's memory is gone (truncated, or its file system is full): \
                 the frontend is disconnected"
            );
        }
        self.connection.hang_up();
        Err(io::Error::other("a part of the guest's memory is gone"))
    }

    /// Has the events of its threads reported to them.
    ///
    /// # Errors
    /// When the system does not.
    pub fn register(&self, daemon: &VhostUserDaemon<Arc<Self>>) -> io::Result<()> {
        let handlers = daemon.get_epoll_handlers();
        let (requests, commands) = (&handlers[REQUEST_THREAD], &handlers[REQUEST_THREAD + 1]);
        let queue = &mut self.requests.lock().queue;
        queue.watch(requests.as_raw_fd())?;
        let commits = queue.commits().event().as_raw_fd();
        for (event, number) in [(commits, COMMITS), (self.again.as_raw_fd(), AGAIN)] {
            requests.register_listener(event, EventSet::IN, u64::from(number))?;
        }
        let wake = self.vssd.wake().as_raw_fd();
        commands.register_listener(wake, EventSet::IN, u64::from(WAKE))?;
        // Before anything of the frontend each thread hears of these, and notes by whom it is
        // needed.
        self.again.write(1)?;
        self.vssd.wake().write(1)
    }

    /// Ends its threads where no daemon does.
    pub fn end_threads(&self) {
        // Full only if they were told 2^64 - 1 times.
        let _ = self.exit.write(1);
    }

    /// Whether a queue was started and not stopped again, nor the connection is over: then it is
    /// in memory, and no thread waits for its last use.
    fn serves(&self, vring: &VringRwLock) -> bool {
        vring.get_ref().get_queue().ready() && !self.connection.is_over()
    }

    /// Serves requests until something else is to be looked at.
    ///
    /// While requests follow each other quickly, the thread busy-polls the ring and the engine,
    /// within the limits of its poller. Otherwise it sleeps in the engine, which waits for every
    /// event of the thread: to sleep there, to be woken and to submit what comes next is one
    /// system call.
    fn serve_requests(&self, vring: &VringRwLock) -> io::Result<()> {
        let mut requests = self.requests.lock();
        let Requests {
            queue,
            vring: known,
            poller,
        } = &mut *requests;
        if known.is_none() {
            *known = Some(vring.clone());
            // A backend that was killed may have published entries without a word, and a
            // guest that waits for the first of them hears of no later one (virtio 1.2, 2.7.7).
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
        vring: &VringRwLock,
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
            // Waking the guest costs more than serving it: it is woken when
            // there is no more to serve, or has enough to work on meanwhile.
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
                // Full only after 2^64 - 1 stints that were not read.
                let _ = self.again.write(1);
                return Ok(());
            }
            if taken + ended > 0 {
                continue;
            }
            // A queue that was stopped is not waited for: who stopped it waits for its end.
            if !self.serves(vring) {
                return Ok(());
            }
            if poller.should_poll(now_ns) {
                queue.kick();
                thread::yield_now();
                poller.let_others_run(now_ns, self.vssd.now_ns());
                continue;
            }
            if queue.len() < QUEUE_SIZE && self.more_is_available(vring)? {
                continue;
            }
            self.count_polls(poller);
            if !queue.park() {
                return self.serve_once(queue, vring, poller);
            }
            self.disable_notifications(vring)?;
        }
    }

    /// Serves what there is before it is found out what disturbs: mostly the guest, which
    /// tells of a request. So the backing has it while the thread asks the system who calls.
    fn serve_once(
        &self,
        queue: &mut RequestQueue,
        vring: &VringRwLock,
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
    fn disable_notifications(&self, vring: &VringRwLock) -> io::Result<()> {
        vring.disable_notification().map_err(broken)?;
        let state = vring.get_ref();
        let queue = state.get_queue();
        if queue.event_idx_enabled() {
            // It tells of the entry with the index that lies behind the used entries (virtio
            // 1.2, 2.7.10), which virtio-queue leaves at one that may be the next. The one
            // before has been taken, and comes again when all of a ring's have.
            let passed = queue.next_avail().wrapping_sub(1).to_le();
            let behind = USED_HEADER_LEN + USED_ENTRY_LEN * u64::from(queue.size());
            let at = GuestAddress(queue.used_ring().wrapping_add(behind));
            // A ring that is not in memory cannot be served: the look at it says so.
            let _ = self.memory.memory().store(passed, at, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks the guest to notify of what it makes available from now on; true when something
    /// is available already.
    fn more_is_available(&self, vring: &VringRwLock) -> io::Result<bool> {
        let more = vring.enable_notification().map_err(broken)?;
        if more {
            self.disable_notifications(vring)?;
        }
        Ok(more)
    }

    /// One pass over the queue.
    fn pass(&self, queue: &mut RequestQueue, vring: &VringRwLock, poller: &mut Poller) -> Served {
        let room = QUEUE_SIZE.saturating_sub(queue.len()).min(BATCH);
        let mut pass = Pass::begin(&self.vssd, queue);
        let (mut taken, mut ended) = (0, 0);
        let mut result = self.take(vring, &mut pass, room, &mut taken);
        pass.poll();
        let intact = self.memory_is_intact();
        while intact.is_ok()
            && let Some(done) = pass.pop()
        {
            // A head that names no descriptor cannot have a used entry: that
            // chain is dropped, the others go on.
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
    /// When the guest claims to have made more available than its ring holds: what
    /// is in the ring then means nothing, and nothing is served before the next kick.
    fn take(
        &self,
        vring: &VringRwLock,
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
        // Its thread may be asleep with the requests in hand.
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
        // A frontend that is gone hears nothing.
        let _ = signal(vring);
    }

    /// Gives up every request that is under way, however a thread that died left them: who
    /// connects next sends them again.
    pub fn abandon_requests(&self) {
        // Its thread may be asleep, if another died.
        let _ = self.again.write(1);
        self.requests.lock().queue.abandon(&self.vssd);
    }

    /// Serves the commands that the guest has made available, at most as many
    /// as a queue holds: then others have their turn. Commands are few, and so are events:
    /// the guest is notified of each, whatever it asked for.
    fn serve_commands(&self, vring: &VringRwLock, buffer: &mut Vec<u8>) -> io::Result<()> {
        let memory = self.memory.memory();
        for _ in 0..QUEUE_SIZE {
            let Some(chain) = pop(vring, &memory)? else {
                return Ok(());
            };
            let head = chain.head_index();
            let len = self.command(chain, &memory, buffer);
            self.memory_is_intact()?;
            self.give_back(vring, head, len);
            vring.signal_used_queue()?;
        }
        // Full only after 2^64 - 1 wakeups that were not read.
        let _ = self.vssd.wake().write(1);
        Ok(())
    }

    /// Publishes a used entry of a command or event.
    fn give_back(&self, vring: &VringRwLock, head: u16, len: u32) {
        if vring.add_used(head, len).is_err() {
            self.bad_chain();
        }
    }

    fn bad_chain(&self) {
        self.vssd.stats().counters.bad_chains += 1;
    }

    /// Carries out a command chain: request in the readable part, response in
    /// the writable one.
    fn command(
        &self,
        chain: DescriptorChain<MemoryGuard>,
        memory: &GuestMemoryMmap,
        buffer: &mut Vec<u8>,
    ) -> u32 {
        let Chain {
            readable,
            writable,
            broken,
            ..
        } = Chain::collect(chain, memory);
        if broken || readable.len() > REQUEST_HEADER_LEN + MAX_PAYLOAD {
            self.bad_chain();
            return 0;
        }
        buffer.resize(readable.len(), 0);
        readable.copy_to(buffer);
        let mut written = 0;
        let room = writable.len().min(MAX_MESSAGE);
        self.vssd.command(buffer, room, |response| {
            writable.copy_from(response);
            written = response.len() as u32;
        });
        written
    }

    /// Sends the events that are due, as far as the guest left buffers. A
    /// buffer is taken only for an event that there is: one held back would
    /// be lost in a reconnect.
    fn send_events(&self, vring: &VringRwLock) -> io::Result<()> {
        let running = {
            let state = vring.get_ref();
            state.is_enabled() && state.get_queue().ready()
        };
        if !running || !self.vssd.lock().device.has_event() {
            return Ok(());
        }
        let memory = self.memory.memory();
        let mut sent = false;
        while self.vssd.lock().device.has_event() {
            let Some(chain) = pop(vring, &memory)? else {
                break;
            };
            let head = chain.head_index();
            let chain = Chain::collect(chain, &memory);
            let mut len = 0;
            if chain.broken || chain.writable.len() < EVENT_LEN {
                self.bad_chain();
            } else {
                let now = self.vssd.now_ns();
                let event = self.vssd.lock().device.take_event(now);
                if event.is_some_and(|event| chain.writable.copy_from(&event)) {
                    len = EVENT_LEN as u32;
                }
            }
            self.memory_is_intact()?;
            self.give_back(vring, head, len);
            sent = true;
        }
        if sent {
            vring.signal_used_queue()?;
        }
        Ok(())
    }

    fn handle_request_event(&self, event: u16, vrings: &[VringRwLock]) -> io::Result<()> {
        // Nothing to read means that an earlier look took it already.
        let _ = match event {
            COMMITS => self.requests.lock().queue.commits().event().read(),
            AGAIN => self.again.read(),
            _ => Ok(0),
        };
        if !self.serves(&vrings[0]) {
            return Ok(());
        }
        self.serve_requests(&vrings[0])
    }

    fn handle_command_event(&self, event: u16, vrings: &[VringRwLock]) -> io::Result<()> {
        let mut command = self.command.lock();
        let buffer = command.get_or_insert_with(|| {
            let_others_first();
            Vec::new()
        });
        if event == WAKE {
            let _ = self.vssd.wake().read();
        }
        if !self.serves(&vrings[usize::from(COMMANDS)]) {
            return Ok(());
        }
        let served = self.serve_commands(&vrings[usize::from(COMMANDS)], buffer);
        self.send_events(&vrings[usize::from(EVENTS)])?;
        served
    }
}

/// The next chain that the guest made available. When there is none, the guest tells of
/// what it makes available from now on.
///
/// # Errors
/// When it claims to have made more available than its ring holds: what is in
/// the ring then means nothing, and nothing is served before the next kick.
fn pop(
    vring: &VringRwLock,
    memory: &MemoryGuard,
) -> io::Result<Option<DescriptorChain<MemoryGuard>>> {
    let next = || {
        let mut state = vring.get_mut();
        let mut chains = state.get_queue_mut().iter(memory.clone()).map_err(broken)?;
        Ok(chains.next())
    };
    match next()? {
        None if vring.enable_notification().map_err(broken)? => next(),
        chain => Ok(chain),
    }
}

fn broken(error: virtio_queue::Error) -> io::Error {
    io::Error::other(error)
}

fn signal(vring: &VringRwLock) -> io::Result<()> {
    if vring.needs_notification().map_err(broken)? {
        vring.signal_used_queue()?;
    }
    Ok(())
}

impl VhostUserBackend for Worker {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    /// Every frontend asks for these first.
    fn features(&self) -> u64 {
        self.connection.greeted();
        [
            VIRTIO_F_VERSION_1,
            VIRTIO_RING_F_INDIRECT_DESC,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_DISCARD,
            VIRTIO_BLK_F_WRITE_ZEROES,
        ]
        .iter()
        .fold(
            VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits(),
            |features, bit| features | 1 << bit,
        )
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn acked_features(&self, features: u64) {
        // A driver without flushes takes a write for durable once it ended
        // (virtio 1.2, 5.2.6.2).
        let flushes = features & 1 << VIRTIO_BLK_F_FLUSH != 0;
        self.vssd.set_writes_through(!flushes);
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        QUEUES_PER_THREAD.to_vec()
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = config_space(self.vssd.geometry);
        let start = (offset as usize).min(CONFIG_LEN);
        let end = start.saturating_add(size as usize).min(CONFIG_LEN);
        config[start..end].to_vec()
    }

    /// The handler put the new regions behind `self.memory` already. An error ends the
    /// connection, and is logged as the reason of that.
    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        guest_memory::check(&memory.memory())
    }

    /// What has been taken from a queue is given back before its position is
    /// told: the queue is not ready any more, so its thread finds nothing new.
    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        match queue {
            // What a thread that died left behind may be in a state that never ends.
            REQUESTS if self.connection.thread_died() => self.abandon_requests(),
            REQUESTS => self.drain_requests(),
            _ => {
                while self.command.try_lock_for(LOOK_INTERVAL).is_none() {
                    // A command may wait for requests that never end.
                    if self.connection.thread_died() {
                        self.abandon_requests();
                    }
                }
            }
        }
        if queue == QUEUES as u32 - 1 {
            self.vssd.commands_stopped();
        }
        Ok(())
    }

    #[allow(unsafe_code)]
    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        let notifier = self.exit.try_clone().ok()?.into_raw_fd();
        // SAFETY: the notifier gets a descriptor of its own, just made. The
        // consumer gets the one of `self.exit`: vhost-user-backend 0.24 takes
        // the number out of it to poll and never closes it, so `self.exit`
        // stays its only owner, and outlives the polling because the worker
        // threads that hold this worker are joined first.
        unsafe {
            Some((
                EventConsumer::from_raw_fd(self.exit.as_raw_fd()),
                EventNotifier::from_raw_fd(notifier),
            ))
        }
    }

    fn handle_event(
        &self,
        event: u16,
        _events: EventSet,
        vrings: &[VringRwLock],
        thread: usize,
    ) -> io::Result<()> {
        self.connection.depend_on_this_thread();
        let handled = match thread {
            REQUEST_THREAD => self.handle_request_event(event, vrings),
            _ => self.handle_command_event(event, vrings),
        };
        // An error returned from here would end the thread for good; a guest
        // whose ring is broken must affect only itself.
        if let Err(error) = handled.and_then(|()| self.memory_is_intact()) {
            tracing::debug!(vssd = %self.vssd.name, %error, "a queue could not be served");
        }
        Ok(())
    }
}
