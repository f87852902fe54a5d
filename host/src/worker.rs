//! The vhost-user side of a vSSD: the only module that knows virtqueues.
//!
//! One [`Worker`] lives as long as one connection of a frontend. Its thread
//! serves all three queues and is woken by their kicks and by
//! [`Vssd::wake`] when an event is due. Used entries are published in the order in
//! which the guest made the buffers available, because a frontend that reconnects
//! replays everything after the last published one.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use vhost::vhost_user::Listener;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringRwLock, VringT};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventNotifier};
use vmm_sys_util::eventfd::EventFd;
use vssd::wire::{EVENT_LEN, MAX_MESSAGE, MAX_PAYLOAD, REQUEST_HEADER_LEN};

use crate::config_space::{CONFIG_LEN, QUEUES, config_space};
use crate::latency::Activity;
use crate::request::{Chain, MemoryGuard, serve};
use crate::vssd::Vssd;

const REQUESTS: u16 = 0;
const EVENTS: u16 = 1;
const COMMANDS: u16 = 2;
/// The wakeup's place among the worker's events, behind the queues and the
/// one that vhost-user-backend keeps for itself.
const WAKE: u16 = QUEUES as u16 + 1;

const QUEUE_SIZE: usize = 1024;

/// Requests after which the guest is notified while more are waiting: it can
/// work on these meanwhile.
const BATCH: usize = 32;

/// Rest after a connection that failed, which may be for lack of descriptors.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The backend of one connection.
pub struct Worker {
    vssd: Arc<Vssd>,
    memory: Memory,
    command: Mutex<Vec<u8>>,
    /// Held while the queues are looked at.
    serving: Mutex<()>,
    exit: EventFd,
}

impl Worker {
    /// Serves `vssd` to a frontend whose memory will be in `memory`.
    fn new(vssd: Arc<Vssd>, memory: Memory) -> io::Result<Self> {
        Ok(Self {
            vssd,
            memory,
            command: Mutex::new(Vec::new()),
            serving: Mutex::new(()),
            exit: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
        })
    }

    /// Serves every chain that the guest has made available on a queue.
    fn drain(
        &self,
        vring: &VringRwLock,
        mut serve: impl FnMut(DescriptorChain<MemoryGuard>, &GuestMemoryMmap) -> u32,
    ) -> io::Result<()> {
        let memory = self.memory.memory();
        loop {
            vring.disable_notification().map_err(broken)?;
            let mut unsignalled = 0;
            while let Some(chain) = pop(vring, &memory)? {
                let head = chain.head_index();
                let len = serve(chain, &memory);
                self.give_back(vring, head, len);
                unsignalled += 1;
                if unsignalled == BATCH {
                    signal(vring)?;
                    unsignalled = 0;
                }
            }
            if unsignalled > 0 {
                signal(vring)?;
            }
            if !vring.enable_notification().map_err(broken)? {
                return Ok(());
            }
        }
    }

    /// Publishes a used entry. A head that names no descriptor cannot have one:
    /// that chain is dropped, the others go on.
    fn give_back(&self, vring: &VringRwLock, head: u16, len: u32) {
        if vring.add_used(head, len).is_err() {
            self.vssd.lock().counters.bad_chains += 1;
        }
    }

    /// Serves a request. Notifying the guest does not count as service: after
    /// a batch it takes many times as long, and would pass for slow requests.
    fn timed_request(&self, chain: DescriptorChain<MemoryGuard>, memory: &GuestMemoryMmap) -> u32 {
        let began_ns = self.vssd.now_ns();
        let mut state = self.vssd.lock();
        let len = serve(&mut state, &self.vssd.name, Chain::collect(chain, memory));
        let service_ns = self.vssd.now_ns() - began_ns;
        let activity = Activity::of(&state.device);
        state.latency.served(activity, service_ns);
        len
    }

    /// Carries out a command chain, for which all requests have to wait.
    fn timed_command(&self, chain: DescriptorChain<MemoryGuard>, memory: &GuestMemoryMmap) -> u32 {
        // Before, because the last command of a resize ends it.
        let activity = Activity::of(&self.vssd.lock().device);
        let began_ns = self.vssd.now_ns();
        let len = self.command(chain, memory);
        let stall_ns = self.vssd.now_ns() - began_ns;
        self.vssd.lock().latency.stalled(activity, stall_ns);
        len
    }

    /// Carries out a command chain: request in the readable part, response in
    /// the writable one.
    fn command(&self, chain: DescriptorChain<MemoryGuard>, memory: &GuestMemoryMmap) -> u32 {
        let Chain {
            readable,
            writable,
            broken,
            ..
        } = Chain::collect(chain, memory);
        if broken || readable.len() > REQUEST_HEADER_LEN + MAX_PAYLOAD {
            self.vssd.lock().counters.bad_chains += 1;
            return 0;
        }
        let mut request = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        request.resize(readable.len(), 0);
        readable.copy_to(&mut request);
        let mut written = 0;
        let room = writable.len().min(MAX_MESSAGE);
        self.vssd.command(&request, room, |response| {
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
        if !running || !self.vssd.lock().device.event_pending() {
            return Ok(());
        }
        let memory = self.memory.memory();
        let mut sent = false;
        while self.vssd.lock().device.event_pending() {
            let Some(chain) = pop(vring, &memory)? else {
                break;
            };
            let head = chain.head_index();
            let chain = Chain::collect(chain, &memory);
            let mut len = 0;
            if chain.broken || chain.writable.len() < EVENT_LEN {
                self.vssd.lock().counters.bad_chains += 1;
            } else {
                let now = self.vssd.now_ns();
                let event = self.vssd.lock().device.take_event(now);
                if event.is_some_and(|event| chain.writable.copy_from(&event)) {
                    len = EVENT_LEN as u32;
                }
            }
            self.give_back(vring, head, len);
            sent = true;
        }
        if sent { signal(vring) } else { Ok(()) }
    }

    fn handle(&self, event: u16, vrings: &[VringRwLock]) -> io::Result<()> {
        let _serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let vring = |index: u16| &vrings[usize::from(index)];
        match event {
            REQUESTS => self.drain(vring(REQUESTS), |chain, memory| {
                self.timed_request(chain, memory)
            })?,
            COMMANDS => self.drain(vring(COMMANDS), |chain, memory| {
                self.timed_command(chain, memory)
            })?,
            WAKE => {
                // Nothing to read means that an earlier look took it already.
                let _ = self.vssd.wake().read();
            }
            _ => {}
        }
        self.send_events(vring(EVENTS))
    }
}

/// The next chain that the guest made available.
///
/// # Errors
/// When it claims to have made more available than its ring holds: what is in
/// the ring then means nothing, and nothing is served before the next kick.
fn pop(
    vring: &VringRwLock,
    memory: &MemoryGuard,
) -> io::Result<Option<DescriptorChain<MemoryGuard>>> {
    let mut state = vring.get_mut();
    let mut chains = state.get_queue_mut().iter(memory.clone()).map_err(broken)?;
    Ok(chains.next())
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

    fn features(&self) -> u64 {
        [
            VIRTIO_F_VERSION_1,
            VIRTIO_RING_F_INDIRECT_DESC,
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
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = config_space(self.vssd.geometry);
        let start = (offset as usize).min(CONFIG_LEN);
        let end = start.saturating_add(size as usize).min(CONFIG_LEN);
        config[start..end].to_vec()
    }

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        // The handler put the new regions behind `self.memory` already.
        Ok(())
    }

    /// What has been taken from a queue is given back before its position is
    /// told: the queue is not ready any more, so the worker finds its end.
    fn stop_vring(&self, _queue: u32) -> io::Result<()> {
        drop(self.serving.lock().unwrap_or_else(PoisonError::into_inner));
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
        _thread: usize,
    ) -> io::Result<()> {
        // An error returned from here would end the worker for good; a guest
        // whose ring is broken is to hurt nobody but itself.
        if let Err(error) = self.handle(event, vrings) {
            tracing::debug!(vssd = %self.vssd.name, %error, "a queue could not be served");
        }
        Ok(())
    }
}

/// Serves one frontend after the other on `listener`, for ever.
pub fn serve_connections(vssd: &Arc<Vssd>, mut listener: Listener) -> io::Result<()> {
    loop {
        let memory = Memory::new(GuestMemoryMmap::new());
        let worker = Arc::new(Worker::new(vssd.clone(), memory.clone())?);
        let mut daemon = VhostUserDaemon::new(vssd.name.clone(), worker, memory)
            .map_err(|error| io::Error::other(error.to_string()))?;
        for handler in daemon.get_epoll_handlers() {
            handler.register_listener(vssd.wake().as_raw_fd(), EventSet::IN, u64::from(WAKE))?;
        }
        if let Err(error) = daemon.start(&mut listener) {
            tracing::warn!(vssd = %vssd.name, %error, "a frontend could not connect");
            thread::sleep(RETRY_INTERVAL);
            continue;
        }
        tracing::info!(vssd = %vssd.name, "frontend connected");
        vssd.set_connected(true);
        // A frontend that leaves, whether in good order or killed, ends the
        // connection: there is nothing to tell apart.
        let _ = daemon.wait();
        vssd.set_connected(false);
        tracing::info!(vssd = %vssd.name, "frontend gone");
    }
}

/// Starts the thread that serves `vssd` on `listener`.
pub fn spawn(vssd: Arc<Vssd>, listener: Listener) -> io::Result<()> {
    thread::Builder::new()
        .name(format!("vssd-{}", vssd.name))
        .spawn(move || {
            if let Err(error) = serve_connections(&vssd, listener) {
                tracing::error!(vssd = %vssd.name, %error, "no frontend can connect any more");
            }
        })?;
    Ok(())
}
