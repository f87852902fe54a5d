//! The vSSDs of a backend: brought up, found by name, taken down.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::{Mutex, MutexGuard};

use crate::agent::AgentServer;
use crate::balancer::Service;
use crate::control::protocol::{Added, Unserved};
use crate::descriptors;
use crate::polling::Polling;
use crate::pool::allocator::Bounds;
use crate::pool::volume::Volume;
use crate::pool::{Member, Pool};
use crate::server::Server;
use crate::size::ByteSize;
use crate::socket::SocketFile;
use crate::sockets::{CONTROL, Sockets, VssdSockets, ensure_free, paths};
use crate::spec::VssdSpec;
use crate::vssd::{Context, Place, Vssd};

/// When a stop first logs what it waits for, and the interval after that.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const FURTHER_WAITS: Duration = Duration::from_secs(10);

/// A vSSD that is served.
struct Served {
    server: Arc<Server>,
    agent: Option<Arc<AgentServer>>,
    /// Dropped last, so that no client finds a socket that is not served.
    _files: Vec<SocketFile>,
}

/// One pool and the vSSDs that are served from it.
pub struct Backend {
    pool: Arc<Pool>,
    context: Context,
    polling: Arc<Polling>,
    sockets: Sockets,
    /// Locked for short accesses only: nothing waits for the backing while holding it.
    served: Mutex<Vec<Served>>,
    /// Names being added or removed, which may wait for the backing.
    changing: Mutex<BTreeSet<String>>,
    ending: AtomicBool,
    /// What divides the pool among the vSSDs, if that is wanted.
    balancer: OnceLock<Arc<Service>>,
}

/// A name that is reserved for one thread, which adds or removes it.
struct Changing<'a>(&'a Backend, &'a str);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changing().remove(self.1);
    }
}

impl Backend {
    /// A backend that serves nothing yet.
    pub fn new(pool: Arc<Pool>, context: Context, polling: Arc<Polling>, sockets: Sockets) -> Self {
        Self {
            pool,
            context,
            polling,
            sockets,
            served: Mutex::default(),
            changing: Mutex::default(),
            ending: AtomicBool::new(false),
            balancer: OnceLock::new(),
        }
    }

    /// Has `balancer` divide the pool among the vSSDs, to be called before any is added. The first
    /// one stays.
    pub fn divide_by(&self, balancer: Arc<Service>) {
        let _ = self.balancer.set(balancer);
    }

    /// What divides the pool among the vSSDs, if that is wanted.
    pub fn balancer(&self) -> Option<&Arc<Service>> {
        self.balancer.get()
    }

    /// Whether it is shutting down.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn served(&self) -> MutexGuard<'_, Vec<Served>> {
        self.served.lock()
    }

    fn servers(&self) -> Vec<Arc<Server>> {
        self.served().iter().map(|s| s.server.clone()).collect()
    }

    fn changing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.changing.lock()
    }

    fn change<'a>(&'a self, name: &'a str) -> Result<Changing<'a>> {
        ensure!(!self.is_ending(), "the backend is shutting down");
        let alone = self.changing().insert(name.to_owned());
        ensure!(alone, "vSSD {name} is being added or removed");
        Ok(Changing(self, name))
    }

    /// Handles elapsed deadlines without blocking; returns when to call again.
    pub fn tick(&self) -> Option<Duration> {
        let servers = self.servers();
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
        let servers = self.served();
        servers.iter().map(|s| s.server.vssd().clone()).collect()
    }

    /// The vSSDs of the pool that are not served.
    pub fn unserved(&self) -> Vec<Unserved> {
        let vssds = self.vssds();
        let members = self.pool.members().into_iter();
        members
            .filter(|member| vssds.iter().all(|vssd| vssd.name != member.name))
            .map(|member| Unserved {
                name: member.name,
                capacity: member.capacity,
                held: member.account.held,
                used: member.account.owned,
            })
            .collect()
    }

    /// The vSSD of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, name: &str) -> Result<Arc<Vssd>> {
        let vssds = self.vssds();
        if let Some(found) = vssds.iter().find(|v| v.name == name) {
            return Ok(found.clone());
        }
        ensure!(
            self.pool.member(name).is_none(),
            "vSSD {name} is in the pool, but is not served: `vssdctl add` serves it, `vssdctl \
             remove {name} --delete` deletes it"
        );
        let names: Vec<_> = vssds.iter().map(|v| v.name.as_str()).collect();
        bail!(
            "no vSSD is called `{name}`; there are: {}",
            names.join(", ")
        )
    }

    /// Starts serving a vSSD: one of the pool, or a new one if the description allows creating it.
    ///
    /// # Errors
    /// When the name or the socket is taken, the pool has it with another
    /// size, or it does not fit. Then nothing has changed.
    pub fn add(&self, spec: &VssdSpec) -> Result<Added> {
        let _changing = self.change(&spec.name)?;
        let vssds = self.vssds();
        let taken = vssds.iter().any(|vssd| vssd.name == spec.name);
        ensure!(!taken, "a vSSD called {} is served already", spec.name);
        let mut taken = vec![(&*self.sockets.control, CONTROL.to_owned())];
        for vssd in &vssds {
            taken.extend(paths(&vssd.name, &vssd.socket, &vssd.transport));
        }
        ensure_free(spec, &mut taken)?;
        let transports = vssds.iter().map(|vssd| &vssd.transport);
        descriptors::ensure_enough(transports.chain([&spec.transport]))?;
        let sockets = VssdSockets::bind(spec, self.sockets.permissions)?;
        self.serve(spec, sockets)
    }

    /// Starts serving several vSSDs, each at its sockets; returns the result for each.
    ///
    /// # Errors
    /// Those of [`add`](Self::add). The pool then has the same vSSDs and bounds as before.
    pub fn start(&self, specs: &[VssdSpec], sockets: Vec<VssdSockets>) -> Result<Vec<Added>> {
        let before: Vec<_> = specs.iter().map(|s| self.pool.member(&s.name)).collect();
        let mut all: Vec<Added> = Vec::new();
        for (spec, sockets) in specs.iter().zip(sockets) {
            let changing = self.change(&spec.name);
            match changing.and_then(|_changing| self.serve(spec, sockets)) {
                Ok(added) => all.push(added),
                Err(error) => {
                    self.forget_new(specs, &all);
                    let served = before.iter().take(all.len()).flatten();
                    served.for_each(|member| self.restore(member));
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    /// Deletes the vSSDs that were created, after a later step failed.
    pub fn forget_new(&self, specs: &[VssdSpec], added: &[Added]) {
        let made = specs.iter().zip(added).filter(|(_, added)| added.new);
        made.for_each(|(spec, _)| self.forget(&spec.name));
    }

    /// Deletes a vSSD that was just created, after a later step failed.
    fn forget(&self, name: &str) {
        if let Err(error) = self.take_down(name, true) {
            tracing::error!(vssd = %name, "the new vSSD could not be deleted again: {error:#}");
        }
    }

    fn serve(&self, spec: &VssdSpec, sockets: VssdSockets) -> Result<Added> {
        let (have, wanted) = (self.pool.block_size(), spec.geometry.block_size());
        ensure!(
            have == wanted,
            "vSSD {} asks for blocks of {wanted} bytes, but the pool has blocks of {have}: set \
             block-size={have}B",
            spec.name
        );
        let before = self.pool.member(&spec.name);
        let volume = match &before {
            Some(_) => self.attach(spec)?,
            None => self.make(spec)?,
        };
        let warnings = warnings(spec, &volume, before.is_none());
        let served = self.bring_up(spec, volume, sockets);
        match (served, &before) {
            (Ok(served), _) => self.served().push(served),
            (Err(error), None) => {
                self.forget(&spec.name);
                return Err(error);
            }
            (Err(error), Some(member)) => {
                self.restore(member);
                return Err(error);
            }
        }
        if before.is_none() {
            tracing::info!(vssd = %spec.name, "created a new vSSD");
        }
        for warning in &warnings {
            tracing::warn!(vssd = %spec.name, "{warning}");
        }
        self.context.notifier.notify();
        Ok(Added {
            new: before.is_none(),
            warnings,
        })
    }

    /// Attaches a vSSD of the pool, with the requested bounds.
    fn attach(&self, spec: &VssdSpec) -> Result<Arc<Volume>> {
        let capacity = spec.geometry.capacity();
        let attached = self
            .pool
            .attach(&spec.name, capacity, spec.quota, spec.reservation)
            .with_context(|| format!("vSSD {}", spec.name))?;
        attached.with_context(|| format!("vSSD {} has just been deleted", spec.name))
    }

    fn make(&self, spec: &VssdSpec) -> Result<Arc<Volume>> {
        if spec.create != Some(true) {
            let members = self.pool.members();
            let names: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
            let names = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has: {}", names.join(", "))
            };
            bail!(
                "the pool has no vSSD called `{}`; {names}. To create it, add create=true to \
                 its description, or --create",
                spec.name
            );
        }
        let capacity = spec.geometry.capacity();
        let bounds = Bounds {
            quota: spec.quota.unwrap_or(capacity),
            reservation: spec.reservation.unwrap_or(0),
        };
        let made = self
            .pool
            .add(&spec.name, capacity, bounds, spec.held_when_new());
        made.with_context(|| format!("create vSSD {}", spec.name))
    }

    /// Restores the earlier bounds of a vSSD of the pool.
    fn restore(&self, member: &Member) {
        let Bounds { quota, reservation } = member.account.bounds;
        let (quota, reservation) = (Some(quota), Some(reservation));
        let restored = self
            .pool
            .attach(&member.name, member.capacity, quota, reservation);
        if let Err(error) = restored {
            let error = anyhow::Error::from(error);
            tracing::error!(
                vssd = %member.name,
                "its earlier bounds could not be restored: {error:#}"
            );
        }
    }

    fn bring_up(
        &self,
        spec: &VssdSpec,
        volume: Arc<Volume>,
        sockets: VssdSockets,
    ) -> Result<Served> {
        let place = Place {
            name: spec.name.clone(),
            socket: spec.socket.clone(),
            transport: spec.transport.clone(),
        };
        let vssd = Vssd::new(
            place,
            self.pool.clone(),
            volume,
            spec.encoding.into(),
            session_seed(),
            self.context.clone(),
        )?;
        vssd.set_share(spec.share);
        let vssd = Arc::new(vssd);
        let (listener, file) = sockets.frontend.into_parts();
        let mut files = vec![file];
        let agent = sockets.agent.map(|socket| {
            let (listener, file) = socket.into_parts();
            files.push(file);
            AgentServer::start(vssd.clone(), listener)
        });
        let agent = agent.transpose()?.map(Arc::new);
        let polling = self.polling.clone();
        let server = Server::start(vssd, listener, polling);
        // Nothing else ends its thread.
        if let (Err(_), Some(agent)) = (&server, &agent) {
            agent.stop();
        }
        Ok(Served {
            server: Arc::new(server?),
            agent,
            _files: files,
        })
    }

    /// Stops serving a vSSD; its blocks stay in the pool, unless it is to be deleted. One that is
    /// not served can only be deleted.
    ///
    /// # Errors
    /// When there is no such vSSD, or its deletion could not be recorded.
    pub fn remove(&self, name: &str, delete: bool) -> Result<()> {
        let _changing = self.change(name)?;
        let is_served = self.vssds().iter().any(|vssd| vssd.name == name);
        let is_to_delete = delete && self.pool.member(name).is_some();
        if !is_served && !is_to_delete {
            self.find(name)?;
        }
        self.take_down(name, delete)
    }

    fn take_down(&self, name: &str, delete: bool) -> Result<()> {
        let found = {
            let served = self.served();
            let found = served.iter().find(|s| s.server.vssd().name == name);
            found.map(|s| (s.server.clone(), s.agent.clone()))
        };
        if let Some((server, agent)) = &found {
            // It stays in the list until then, so that a status shows what it waits for.
            server.stop();
            if let Some(agent) = agent {
                agent.stop();
            }
            server.vssd().retire();
            let stopped = |other: &Served| Arc::ptr_eq(&other.server, server);
            self.served().retain(|other| !stopped(other));
        }
        if delete {
            self.pool.remove(name)?;
        }
        self.context.notifier.notify();
        Ok(())
    }

    /// Stops serving all vSSDs in parallel, and logs at intervals what it waits for.
    pub fn stop(&self) {
        self.ending.store(true, Ordering::SeqCst);
        let servers = self.servers();
        servers.iter().for_each(|server| server.begin_to_stop());
        let mut patience = FIRST_WAIT;
        let mut told = Instant::now();
        loop {
            let generation = self.context.notifier.generation();
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
            self.context.notifier.wait(generation, next);
        }
        for server in servers {
            server.stop();
        }
        let agents: Vec<_> = self
            .served()
            .iter()
            .filter_map(|s| s.agent.clone())
            .collect();
        agents.iter().for_each(|agent| agent.stop());
        self.served().clear();
    }
}

/// Warnings about parts of a description that may not have the expected effect.
fn warnings(spec: &VssdSpec, volume: &Volume, new: bool) -> Vec<String> {
    let bytes = |blocks: u32| ByteSize(u64::from(blocks) * u64::from(spec.geometry.block_size()));
    let (capacity, held) = (spec.geometry.capacity(), volume.held().len());
    let mut warnings = Vec::new();
    if let Some(asked) = spec.held.filter(|asked| !new && *asked != held) {
        warnings.push(format!(
            "held={} is for a new vSSD only: {} is in the pool, and its guest holds {}",
            bytes(asked),
            spec.name,
            bytes(held)
        ));
    }
    if new && held < capacity {
        warnings.push(format!(
            "a guest without a vSSD driver sees a disk of {} and cannot use its last {}: reads \
             and writes there fail, and mkfs and blkid try them; give such a guest all of it \
             (leave out held)",
            bytes(capacity),
            bytes(capacity - held)
        ));
    }
    warnings
}

/// A number that differs from those of earlier backends: the time.
fn session_seed() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
}
