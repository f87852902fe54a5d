//! The vhost-user side of a vSSD: the only module that knows virtqueues.
//!
//! One [`Worker`] lives as long as one connection of a frontend. One of its threads
//! serves the requests of all request queues. Where the last two virtqueues are for a driver, another
//! thread serves its commands and events, so that a resize keeps no
//! request waiting. Used entries are published in the order in which the guest made
//! the buffers available, because a frontend that reconnects replays everything
//! after the last published one.

mod commands;
mod requests;
mod vring;

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringT};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_MQ,
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};
use vmm_sys_util::eventfd::EventFd;

use crate::config_space::{CONFIG_LEN, config_space};
use crate::connection::Connection;
use crate::guest_memory::{self, Watch};
use crate::polling::{Poller, Polling};
use crate::request::RequestQueue;
use crate::transport::{MAX_REQUEST_QUEUES, Transport};
use crate::vssd::Vssd;
use requests::{Lines, Requests};
use vring::Vring;

/// The thread that serves requests; the other one, if there is one, serves commands.
const REQUEST_THREAD: usize = 0;

/// Queues of the command thread, as it numbers them.
const EVENTS: u16 = 0;
const COMMANDS: u16 = 1;
/// Other events, numbered after the queues and the exit event of vhost-user-backend: an event for
/// the guest is due;
const WAKE: u16 = MAX_REQUEST_QUEUES + 1;
/// a commit has ended;
const COMMITS: u16 = WAKE + 1;
/// the request thread has more to do.
const AGAIN: u16 = COMMITS + 1;

const QUEUE_SIZE: usize = 1024;

/// How often a wait for a command checks that its thread is alive.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The memory of a guest.
pub type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The backend of one connection.
pub struct Worker {
    vssd: Arc<Vssd>,
    memory: Memory,
    requests: Mutex<Requests>,
    /// The buffer of commands, from the first one on; locked while commands and events are served.
    command: Mutex<Option<Vec<u8>>>,
    connection: Arc<Connection>,
    again: EventFd,
    /// Threads that stop a queue, and wait for the request thread to let go of the requests.
    stops: AtomicU32,
    exit: EventFd,
    watch: Watch,
    /// A part of the guest's memory is lost: nothing is acknowledged any more.
    lost: AtomicBool,
}

fn event() -> io::Result<EventFd> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
}

impl Worker {
    /// Serves `vssd` to the frontend of `connection`, whose memory will be in `memory`; `polling`
    /// limits how far the request thread busy-polls.
    ///
    /// # Errors
    /// When the system refuses what its engine or its events need.
    pub fn new(
        vssd: Arc<Vssd>,
        memory: Memory,
        polling: Arc<Polling>,
        connection: Arc<Connection>,
    ) -> io::Result<Self> {
        let requests = Requests {
            queue: RequestQueue::new(&vssd)?,
            lines: Lines::new(vssd.transport.request_queues()),
            poller: Poller::new(polling),
        };
        Ok(Self {
            requests: Mutex::new(requests),
            vssd,
            memory,
            command: parking_lot::Mutex::default(),
            connection,
            again: event()?,
            stops: AtomicU32::new(0),
            exit: event()?,
            watch: Watch::default(),
            lost: AtomicBool::new(false),
        })
    }

    /// Makes sure that the guest's memory is intact; otherwise ends the connection.
    ///
    /// Called after work with that memory, before its results are published.
    ///
    /// # Errors
    /// When a part is lost.
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

    /// Registers the events of its threads.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn register(&self, daemon: &VhostUserDaemon<Arc<Self>>) -> io::Result<()> {
        let handlers = daemon.get_epoll_handlers();
        let requests = &handlers[REQUEST_THREAD];
        let queue = &mut self.requests.lock().queue;
        queue.watch(requests.as_raw_fd())?;
        let commits = queue.commits().event().as_raw_fd();
        for (event, number) in [(commits, COMMITS), (self.again.as_raw_fd(), AGAIN)] {
            requests.register_listener(event, EventSet::IN, u64::from(number))?;
        }
        // Each thread gets an event before any of the frontend, and ties the connection to itself.
        self.again.write(1)?;
        if self.vssd.transport == Transport::Virtqueues {
            let wake = self.vssd.wake();
            let commands = &handlers[REQUEST_THREAD + 1];
            commands.register_listener(wake.as_fd().as_raw_fd(), EventSet::IN, u64::from(WAKE))?;
            wake.wake();
        }
        Ok(())
    }

    /// Ends its threads if no daemon does.
    pub fn end_threads(&self) {
        // Full only after 2^64 - 1 calls.
        let _ = self.exit.write(1);
    }

    /// Whether a queue is started and the connection is not over: then it is in memory, and no
    /// thread waits for its last use.
    fn is_serving(&self, vring: &Vring) -> bool {
        vring.get_ref().get_queue().ready() && !self.connection.is_over()
    }
}

fn broken(error: virtio_queue::Error) -> io::Error {
    io::Error::other(error)
}

impl VhostUserBackend for Worker {
    type Bitmap = ();
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        self.vssd.transport.queues()
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    /// Every frontend requests these first.
    fn features(&self) -> u64 {
        self.connection.greeted();
        // A driver would spread its requests over the last two queues, where they have another
        // purpose (SPEC.md, 2.1).
        let spreads = self.vssd.transport.request_queues() > 1;
        let several = spreads.then_some(VIRTIO_BLK_F_MQ);
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
        .into_iter()
        .chain(several)
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
        // A driver without flushes expects a write to be durable when it ends (virtio 1.2,
        // 5.2.6.2).
        let flushes = features & 1 << VIRTIO_BLK_F_FLUSH != 0;
        self.vssd.set_write_through(!flushes);
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        let first = |queues: usize| u64::MAX >> (u64::BITS as usize - queues);
        let requests = first(self.vssd.transport.request_queues());
        let others = first(self.vssd.transport.queues()) & !requests;
        [requests, others]
            .into_iter()
            .filter(|queues| *queues != 0)
            .collect()
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = config_space(self.vssd.geometry, &self.vssd.transport);
        let start = (offset as usize).min(CONFIG_LEN);
        let end = start.saturating_add(size as usize).min(CONFIG_LEN);
        config[start..end].to_vec()
    }

    /// The handler put the new regions behind `self.memory` already. An error ends the
    /// connection, and is logged as the reason of that.
    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        guest_memory::check(&memory.memory())
    }

    /// Everything taken from a queue is completed before its position is reported: the queue is not
    /// ready any more, so its thread finds nothing new.
    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        let transport = &self.vssd.transport;
        let carries_requests = (queue as usize) < transport.request_queues();
        match carries_requests {
            // Requests of a dead thread may be in a state that never ends.
            true if self.connection.has_dead_thread() => self.abandon_requests(),
            true => self.drain_requests(),
            false => {
                while self.command.try_lock_for(LOOK_INTERVAL).is_none() {
                    // A command may wait for requests that never end.
                    if self.connection.has_dead_thread() {
                        self.abandon_requests();
                    }
                }
            }
        }
        // [STR-9] An agent's channel does not say that its guest was reset; its disk does.
        let stops_commands = match transport {
            Transport::Virtqueues => queue as usize == transport.queues() - 1,
            Transport::Stream { .. } => queue == 0,
        };
        if stops_commands {
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
        vrings: &[Vring],
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
