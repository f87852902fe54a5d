//! Several guests under QEMU that share the pool of one backend.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::backend::{Backend, BackendConfig, Sharing, vssd_name};
use crate::guest::Guest;
use crate::resources::temporary_folder;
use crate::testbed::Disks;
use crate::vm_host::{Vm, VmHost};

/// Guests, by VM, and their backends.
pub struct Fleet {
    // Dropped before the backends that they use.
    pub vms: Vec<FleetVm>,
    pub backend: Backend,
    /// The backend of the origin disks.
    origin: Option<Backend>,
    trace: Option<PathBuf>,
    vm_host: VmHost,
    folder: TempDir,
}

/// A VM of a fleet, which has its backends.
pub type FleetVm = Vm<()>;

impl Fleet {
    /// Starts a backend with a vSSD for each VM, another with their origin disks if there are any, and
    /// the guests on them.
    ///
    /// # Errors
    /// When the disk is too small, or one of them does not start.
    pub fn start(vm_host: &VmHost, disks: impl Into<Disks>, sharing: Sharing) -> Result<Self> {
        let Disks {
            vssd,
            origin,
            trace,
        } = disks.into();
        let folder = temporary_folder(vssd.written)?;
        let backend = Backend::start(BackendConfig {
            program: vm_host.program.clone(),
            folder: folder.path().to_owned(),
            size: vssd.size,
            block_size: vssd.block_size,
            media: None,
            sharing: Some(sharing),
            agent_queues: None,
        })?;
        let origins = folder.path().join("origin");
        let origin = origin.map(|origin| vm_host.start_origins(origin, origins, sharing.vms));
        let mut fleet = Self {
            vms: Vec::new(),
            backend,
            origin: origin.transpose()?,
            trace,
            vm_host: vm_host.clone(),
            folder,
        };
        for vm in 0..sharing.vms {
            let guest = fleet.boot(vm)?;
            fleet.vms.push(guest);
        }
        Ok(fleet)
    }

    fn boot(&self, vm: usize) -> Result<FleetVm> {
        let folder = self.folder.path().join(vssd_name(vm));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let (origin, trace) = (self.origin.as_ref(), self.trace.as_deref());
        Ok(FleetVm {
            guest: self
                .vm_host
                .boot(vm, &self.backend, origin, trace, folder)?,
            vssd: self.backend.vssd(vm),
            backends: (),
        })
    }

    /// Kills the QEMU of a VM with SIGKILL and boots the VM again.
    ///
    /// # Errors
    /// When the VM does not boot again.
    pub fn kill_guest(&mut self, vm: usize) -> Result<()> {
        drop(self.vms.remove(vm));
        let guest = self.boot(vm)?;
        self.vms.insert(vm, guest);
        Ok(())
    }

    /// Kills the backend with SIGKILL while the guests run, starts another on the same files,
    /// and waits until the guests have reconnected.
    ///
    /// # Errors
    /// When it does not start, or a guest does not reconnect.
    pub fn kill_backend(self) -> Result<Self> {
        let backend = self.backend.kill_and_restart()?;
        backend.await_agreed()?;
        let mut vms = self.vms;
        for (number, vm) in vms.iter_mut().enumerate() {
            vm.vssd = backend.vssd(number);
        }
        Ok(Self {
            vms,
            backend,
            ..self
        })
    }

    /// Shuts all guests down, then the backends.
    ///
    /// # Errors
    /// When a guest exits with an error or not at all.
    pub fn shut_down(self) -> Result<()> {
        let guests = self.vms.into_iter().map(|vm| vm.guest);
        guests.into_iter().try_for_each(Guest::shut_down)
    }
}
