//! The vSSDs of a backend: brought up, found by name, taken down.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::descriptors;
use crate::polling::Polling;
use crate::pool::Pool;
use crate::pool::ledger::Bounds;
use crate::server::Server;
use crate::spec::VssdSpec;
use crate::vssd::{Context, Place, Vssd};

/// When it is first logged what a stop waits for, and then.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const FURTHER_WAITS: Duration = Duration::from_secs(10);

/// One pool and the vSSDs that are served from it.
pub struct Backend {
    pool: Arc<Pool>,
    context: Context,
    polling: Arc<Polling>,
    /// Locked only to look: whatever may wait for the medium comes before or after.
    servers: Mutex<Vec<Arc<Server>>>,
    /// Those that are being added or removed, which takes as long as the medium.
    changing: Mutex<BTreeSet<String>>,
    ending: AtomicBool,
}

/// A name that nobody else adds or removes meanwhile.
struct Changing<'a>(&'a Backend, &'a str);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changing().remove(self.1);
    }
}

impl Backend {
    /// A backend that serves nothing yet.
    pub fn new(pool: Arc<Pool>, context: Context, polling: Arc<Polling>) -> Self {
        Self {
            pool,
            context,
            polling,
            servers: Mutex::default(),
            changing: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<'a>(&'a self, name: &'a str) -> Result<Changing<'a>> {
        ensure!(!self.ending.load(Ordering::SeqCst), "the backend ends");
        let alone = self.changing().insert(name.to_owned());
        ensure!(alone, "vSSD {name} is just being added or removed");
        Ok(Changing(self, name))
    }

    /// Notes that time has passed, without waiting for anything; returns when to come again.
    pub fn tick(&self) -> Option<Duration> {
        let servers = self.servers().clone();
        servers.iter().filter_map(|server| server.tick()).min()
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
        let _changing = self.change(&spec.name)?;
        let vssds = self.vssds();
        let taken = vssds.iter().any(|vssd| vssd.name == spec.name);
        ensure!(!taken, "a vSSD called {} is served already", spec.name);
        descriptors::ensure_enough(vssds.len() + 1)?;
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
        let listener = UnixListener::bind(&spec.socket)
            .with_context(|| format!("listen at {}", spec.socket.display()))?;
        let polling = self.polling.clone();
        let server = Server::start(Arc::new(vssd), listener, polling)?;
        self.servers().push(Arc::new(server));
        self.context.bell.ring();
        Ok(())
    }

    /// Stops to serve a vSSD; its blocks stay in the pool, unless it is to be
    /// deleted.
    ///
    /// # Errors
    /// When there is none, or the pool could not forget it.
    pub fn remove(&self, name: &str, delete: bool) -> Result<()> {
        let _changing = self.change(name)?;
        self.find(name)?;
        let found = self
            .servers()
            .iter()
            .find(|s| s.vssd().name == name)
            .cloned();
        let server = found.context("it is in the list, and nobody else removes it")?;
        // It is in the list until then: what it waits for can be seen.
        server.stop();
        self.servers().retain(|other| !Arc::ptr_eq(other, &server));
        // Gone already is as good.
        let _ = fs::remove_file(&server.vssd().socket);
        if delete {
            self.pool.remove(name)?;
        }
        self.context.bell.ring();
        Ok(())
    }

    /// Stops to serve all of them, at the same time. What that waits for is logged once in a
    /// while.
    pub fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        let servers = self.servers().clone();
        servers.iter().for_each(|server| server.begin_to_stop());
        let mut patience = FIRST_WAIT;
        let mut told = Instant::now();
        loop {
            let rings = self.context.bell.rings();
            let left: Vec<_> = servers.iter().filter(|s| !s.has_stopped()).collect();
            if left.is_empty() {
                break;
            }
            let next = patience.saturating_sub(told.elapsed());
            if next.is_zero() {
                let names: Vec<_> = left.iter().map(|s| s.vssd().name.as_str()).collect();
                tracing::info!("waiting for requests of {}", names.join(", "));
                (told, patience) = (Instant::now(), FURTHER_WAITS);
                continue;
            }
            self.context.bell.wait(rings, next);
        }
        for server in servers {
            server.stop();
            let _ = fs::remove_file(&server.vssd().socket);
        }
        self.servers().clear();
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
