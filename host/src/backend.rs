//! The vSSDs of a backend: brought up, found by name, taken down.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use vhost::vhost_user::Listener;

use crate::polling::Polling;
use crate::pool::Pool;
use crate::pool::ledger::Bounds;
use crate::server::Server;
use crate::spec::VssdSpec;
use crate::vssd::{Context, Place, Vssd};

/// One pool and the vSSDs that are served from it.
pub struct Backend {
    pool: Arc<Pool>,
    context: Context,
    polling: Arc<Polling>,
    servers: Mutex<Vec<Server>>,
}

impl Backend {
    /// A backend that serves nothing yet.
    pub fn new(pool: Arc<Pool>, context: Context, polling: Arc<Polling>) -> Self {
        Self {
            pool,
            context,
            polling,
            servers: Mutex::default(),
        }
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What the vSSDs share.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The vSSDs, in the order in which they were added.
    pub fn vssds(&self) -> Vec<Arc<Vssd>> {
        self.servers().iter().map(|s| s.vssd().clone()).collect()
    }

    /// The vSSD of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<Arc<Vssd>> {
        let vssds = self.vssds();
        let names: Vec<_> = vssds.iter().map(|v| v.name.as_str()).collect();
        let found = vssds.iter().find(|v| v.name == name);
        found.cloned().with_context(|| {
            let names = names.join(", ");
            format!("no vSSD is called `{name}`; there are: {names}")
        })
    }

    /// Starts to serve a vSSD: one that the pool knows already, or a new one.
    ///
    /// # Errors
    /// When the name or the socket is taken, the pool knows it with another
    /// size, or it does not fit.
    pub fn add(&self, spec: &VssdSpec) -> Result<()> {
        let mut servers = self.servers();
        let taken = servers.iter().any(|s| s.vssd().name == spec.name);
        ensure!(!taken, "a vSSD called {} is served already", spec.name);
        let (have, wanted) = (self.pool.block_size(), spec.geometry.block_size());
        ensure!(
            have == wanted,
            "vSSD {} is to have blocks of {wanted} bytes, but those of the pool have {have}: say \
             block-size={have}B",
            spec.name
        );
        claim_socket(&spec.socket)?;
        let capacity = spec.geometry.capacity();
        let known = self
            .pool
            .attach(&spec.name, capacity, spec.quota, spec.reservation)?;
        let volume = match known {
            Some(volume) => volume,
            None => {
                let bounds = Bounds {
                    quota: spec.quota.unwrap_or(capacity),
                    reservation: spec.reservation.unwrap_or(0),
                };
                self.pool
                    .add(&spec.name, capacity, bounds, spec.held)
                    .with_context(|| format!("make vSSD {}", spec.name))?
            }
        };
        let place = Place {
            name: spec.name.clone(),
            socket: spec.socket.clone(),
        };
        let vssd = Vssd::new(
            place,
            self.pool.clone(),
            volume,
            spec.encoding.into(),
            session_seed(),
            self.context.clone(),
        )?;
        let listener = Listener::new(&spec.socket, false)
            .with_context(|| format!("listen at {}", spec.socket.display()))?;
        let polling = self.polling.clone();
        servers.push(Server::start(Arc::new(vssd), listener, polling)?);
        drop(servers);
        self.context.bell.ring();
        Ok(())
    }

    /// Stops to serve a vSSD; its blocks stay in the pool, unless it is to be
    /// deleted.
    ///
    /// # Errors
    /// When there is none, or the pool could not forget it.
    pub fn remove(&self, name: &str, delete: bool) -> Result<()> {
        self.find(name)?;
        let mut servers = self.servers();
        let Some(at) = servers.iter().position(|s| s.vssd().name == name) else {
            bail!("vSSD {name} was removed just now");
        };
        let server = servers.remove(at);
        drop(servers);
        let socket = server.vssd().socket.clone();
        server.stop();
        // Gone already is as good.
        let _ = fs::remove_file(socket);
        if delete {
            self.pool.remove(name)?;
        }
        self.context.bell.ring();
        Ok(())
    }

    /// Stops to serve all of them.
    pub fn stop(&self) {
        let servers = std::mem::take(&mut *self.servers());
        for server in servers {
            let socket = server.vssd().socket.clone();
            server.stop();
            let _ = fs::remove_file(socket);
        }
    }
}

/// Makes sure that nobody listens at `path`, and removes what a backend that
/// died left there.
///
/// # Errors
/// When somebody listens there, or something else is there.
pub fn claim_socket(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    ensure!(
        metadata.file_type().is_socket(),
        "{} exists and is no socket: choose another path",
        path.display()
    );
    ensure!(
        UnixStream::connect(path).is_err(),
        "another program listens at {}: stop it, or choose another path",
        path.display()
    );
    fs::remove_file(path).with_context(|| format!("remove the stale socket {}", path.display()))
}

/// A number that differs from that of an earlier backend: the time.
fn session_seed() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
}
