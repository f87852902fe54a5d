//! The server of a vSSD's frontends, one after the other.
//!
//! The resources of a connection are created when a client connects: a vSSD without one takes
//! little more than its listener.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{Shutdown, shutdown};
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error as ServeError, VhostUserDaemon};
use vm_memory::GuestMemoryMmap;

use crate::connection::{Connection, PATIENCE};
use crate::log_limit::LogLimit;
use crate::polling::Polling;
use crate::threads::{ACCEPT_REST, survive};
use crate::vssd::{Peer, Vssd};
use crate::worker::{Memory, Worker};

/// Serves the frontends of one vSSD, one after the other, on a thread of its own.
pub struct Server {
    serving: Arc<Serving>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Serving {
    vssd: Arc<Vssd>,
    listener: UnixListener,
    polling: Arc<Polling>,
    stopped: AtomicBool,
    over: AtomicBool,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Frontends that could not be served, and connections that ended abnormally.
    unserved: LogLimit,
    silent: LogLimit,
    died: LogLimit,
}

impl Server {
    /// Starts serving `vssd` to the clients of `listener`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        vssd: Arc<Vssd>,
        listener: UnixListener,
        polling: Arc<Polling>,
    ) -> io::Result<Self> {
        let name = format!("vssd-{}", vssd.name);
        let serving = Arc::new(Serving {
            vssd,
            listener,
            polling,
            stopped: AtomicBool::default(),
            over: AtomicBool::default(),
            connection: Mutex::default(),
            unserved: LogLimit::default(),
            silent: LogLimit::default(),
            died: LogLimit::default(),
        });
        let thread = {
            let serving = serving.clone();
            thread::Builder::new()
                .name(name)
                .spawn(move || serving.serve())?
        };
        Ok(Self {
            serving,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The vSSD.
    pub fn vssd(&self) -> &Arc<Vssd> {
        &self.serving.vssd
    }

    /// Handles elapsed deadlines without blocking; returns when to call again.
    pub fn tick(&self) -> Option<Duration> {
        let vssd = self.vssd();
        let next = vssd.tick_at_once();
        let unlogged = vssd.stats().log_rest(&vssd.name, false);
        let silence = self.serving.check_silence();
        silence.into_iter().chain(next).chain(unlogged).min()
    }

    /// Disconnects the frontend and serves no other, but does not wait for that.
    pub fn begin_to_stop(&self) {
        self.serving.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for clients; it fails on a second call.
        let _ = shutdown(&self.serving.listener, Shutdown::Both);
        if let Some(connection) = &*self.serving.connection.lock() {
            connection.hang_up();
        }
    }

    /// Whether it has stopped.
    pub fn has_stopped(&self) -> bool {
        self.serving.over.load(Ordering::SeqCst)
    }

    /// Disconnects the frontend and serves no other. Requests that are under
    /// way end first.
    pub fn stop(&self) {
        self.begin_to_stop();
        // Held until the end, so that another thread that stops it waits as well.
        let mut thread = self.thread.lock();
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(vssd = %self.vssd().name, "the thread that served it had panicked");
        }
    }
}

impl Serving {
    fn serve(&self) {
        while !self.stopped.load(Ordering::SeqCst) {
            let rest = match survive(|| self.wait_and_serve()) {
                Some(Ok(())) => false,
                Some(Err(error)) => {
                    if let Some(times) = self.unserved.due() {
                        let vssd = &self.vssd.name;
                        tracing::warn!(%vssd, %error, times, "a frontend could not be served");
                    }
                    true
                }
                None => {
                    self.vssd.restarted();
                    true
                }
            };
            if rest {
                thread::sleep(ACCEPT_REST);
            }
        }
        self.vssd.stats().log_rest(&self.vssd.name, true);
        self.over.store(true, Ordering::SeqCst);
        self.vssd.notifier().notify();
    }

    /// Waits for a client, and serves it until it disconnects.
    fn wait_and_serve(&self) -> io::Result<()> {
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        if self.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let connection = Arc::new(Connection::new(self.vssd.clone()));
        let _present = Present(self);
        // Later this could wait for requests of the connection, and so for itself.
        self.vssd.set_connected(true);
        *self.connection.lock() = Some(connection.clone());
        let memory = Memory::new(GuestMemoryMmap::new());
        let worker = Arc::new(Worker::new(
            self.vssd.clone(),
            memory.clone(),
            self.polling.clone(),
            connection.clone(),
        )?);
        let daemon = match self.accept(&worker, memory) {
            Ok(daemon) => daemon,
            Err(error) => {
                // vhost-user-backend 0.24 leaves threads behind where it cannot start all.
                worker.end_threads();
                return Err(error);
            }
        };
        self.attend(&connection, &worker, daemon);
        Ok(())
    }

    fn accept(
        &self,
        worker: &Arc<Worker>,
        memory: Memory,
    ) -> io::Result<VhostUserDaemon<Arc<Worker>>> {
        let failed = |error: ServeError| io::Error::other(error.to_string());
        let name = self.vssd.name.clone();
        let mut daemon = VhostUserDaemon::new(name, worker.clone(), memory).map_err(failed)?;
        worker.register(&daemon)?;
        let mut listener = Listener::from(self.listener.try_clone()?);
        daemon.start(&mut listener).map_err(failed)?;
        Ok(daemon)
    }

    /// Waits for the end of a connection.
    fn attend(
        &self,
        connection: &Arc<Connection>,
        worker: &Arc<Worker>,
        mut daemon: VhostUserDaemon<Arc<Worker>>,
    ) {
        connection.accepted(daemon.shutdown_handle());
        if self.stopped.load(Ordering::SeqCst) {
            connection.hang_up();
        }
        let end = daemon.wait();
        connection.end();
        let died = || connection.has_dead_thread() || matches!(end, Err(ServeError::WaitDaemon(_)));
        // Nothing may access the guest's memory after this. It comes before the threads end: a
        // command waits for the requests under way, which nothing else would end any more.
        let drained = !died() && survive(|| worker.drain_requests()).is_some();
        if !drained {
            worker.abandon_requests();
        }
        drop(daemon);
        if !drained || died() {
            self.vssd.restarted();
            if let Some(times) = self.died.due() {
                let vssd = &self.vssd.name;
                tracing::error!(
                    %vssd,
                    times,
                    "a thread that served the frontend died; the frontend was disconnected, and \
                     the next one is served"
                );
            }
        }
        self.report(&end);
    }

    /// Logs that a frontend has disconnected; an orderly exit and a kill look the same.
    fn report(&self, end: &Result<(), ServeError>) {
        let vssd = &self.vssd.name;
        let left = match end {
            Err(ServeError::HandleRequest(error)) => matches!(
                error,
                ProtocolError::Disconnected
                    | ProtocolError::PartialMessage
                    | ProtocolError::SocketBroken(_)
            ),
            _ => true,
        };
        match end {
            Err(error) if !left => {
                if let Some(times) = self.unserved.due() {
                    tracing::warn!(%vssd, %error, times, "frontend disconnected");
                }
            }
            _ => tracing::info!(%vssd, "frontend disconnected"),
        }
    }

    /// Disconnects a client that has not sent anything for too long; returns how much longer to
    /// wait for the present one.
    fn check_silence(&self) -> Option<Duration> {
        let connection = self.connection.lock().clone()?;
        let left = connection.patience_left()?;
        if !left.is_zero() {
            return Some(left);
        }
        if let Some(times) = self.silent.due() {
            let (vssd, pid) = (&self.vssd.name, self.vssd.peer().pid);
            tracing::warn!(
                %vssd,
                pid,
                times,
                "a client connected and sent no request in {} s; it is disconnected",
                PATIENCE.as_secs()
            );
        }
        connection.hang_up();
        None
    }
}

/// A client is connected until this is dropped.
struct Present<'a>(&'a Serving);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        *self.0.connection.lock() = None;
        self.0.vssd.update_peer(|peer| *peer = Peer::default());
        self.0.vssd.set_connected(false);
    }
}
