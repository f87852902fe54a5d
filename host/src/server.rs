//! Who serves the frontends of a vSSD: one after the other, as long as it is served.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use vhost::vhost_user::Listener;
use vhost_user_backend::{ShutdownHandle, VhostUserDaemon};
use vm_memory::GuestMemoryMmap;

use crate::polling::Polling;
use crate::vssd::Vssd;
use crate::worker::{Memory, Worker, lock};

/// Rest after a connection that failed, which may be for lack of descriptors.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Serves the frontends of one vSSD, one after the other, on a thread of its own.
pub struct Server {
    vssd: Arc<Vssd>,
    serving: Arc<Serving>,
    thread: thread::JoinHandle<()>,
}

struct Serving {
    polling: Arc<Polling>,
    stopped: AtomicBool,
    connection: Mutex<Option<ShutdownHandle>>,
}

impl Server {
    /// Starts to serve `vssd` to whoever connects to `listener`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        vssd: Arc<Vssd>,
        mut listener: Listener,
        polling: Arc<Polling>,
    ) -> io::Result<Self> {
        let serving = Arc::new(Serving {
            polling,
            stopped: AtomicBool::default(),
            connection: Mutex::default(),
        });
        let thread = {
            let (vssd, serving) = (vssd.clone(), serving.clone());
            thread::Builder::new()
                .name(format!("vssd-{}", vssd.name))
                .spawn(move || serving.serve(&vssd, &mut listener))?
        };
        Ok(Self {
            vssd,
            serving,
            thread,
        })
    }

    /// The vSSD.
    pub fn vssd(&self) -> &Arc<Vssd> {
        &self.vssd
    }

    /// Disconnects the frontend and serves no other. Requests that are under
    /// way end first.
    pub fn stop(self) {
        self.serving.stopped.store(true, Ordering::SeqCst);
        if let Some(connection) = &*lock(&self.serving.connection) {
            connection.shutdown();
        }
        // It may be waiting for a frontend.
        drop(UnixStream::connect(&self.vssd.socket));
        if self.thread.join().is_err() {
            tracing::error!(vssd = %self.vssd.name, "the thread that served it had panicked");
        }
    }
}

impl Serving {
    fn serve(&self, vssd: &Arc<Vssd>, listener: &mut Listener) {
        while !self.stopped.load(Ordering::SeqCst) {
            if let Err(error) = self.connection(vssd, listener) {
                tracing::warn!(vssd = %vssd.name, %error, "a frontend could not be served");
                thread::sleep(RETRY_INTERVAL);
            }
        }
    }

    fn connection(&self, vssd: &Arc<Vssd>, listener: &mut Listener) -> io::Result<()> {
        let failed = |error: vhost_user_backend::Error| io::Error::other(error.to_string());
        let memory = Memory::new(GuestMemoryMmap::new());
        let worker = Arc::new(Worker::new(
            vssd.clone(),
            memory.clone(),
            self.polling.clone(),
        )?);
        let mut daemon =
            VhostUserDaemon::new(vssd.name.clone(), worker.clone(), memory).map_err(failed)?;
        worker.register(&daemon)?;
        daemon.start(listener).map_err(failed)?;
        *lock(&self.connection) = daemon.shutdown_handle();
        if let Some(connection) = daemon.shutdown_handle() {
            worker.may_end(connection);
        }
        if self.stopped.load(Ordering::SeqCst) {
            daemon.request_shutdown();
        }
        tracing::info!(vssd = %vssd.name, "frontend connected");
        vssd.set_connected(true);
        // A frontend that leaves, whether in good order or killed, ends the
        // connection: there is nothing to tell apart.
        let _ = daemon.wait();
        drop(daemon);
        // Nothing may touch the guest's memory after this.
        worker.drain_requests();
        *lock(&self.connection) = None;
        vssd.set_connected(false);
        tracing::info!(vssd = %vssd.name, "frontend gone");
        Ok(())
    }
}
