//! Several guests under QEMU that share the pool of one backend.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;
use vssd::advice::Advice;
use vssd_host::control::protocol::{DemandStatus, EncodingName, Resized, VssdStatus};
use workloads::HostPick;

use crate::backend::{Backend, BackendConfig, ServedVssd, Sharing, vssd_name};
use crate::guest::Guest;
use crate::qemu::Drives;
use crate::resources::temporary_folder;
use crate::testbed::{Disks, GuestChannel, ResizeOptions, Testbed, Transport};
use crate::vm_host::VmHost;

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

/// A guest of a fleet on its vSSD.
pub struct FleetVm {
    pub guest: Guest,
    vssd: ServedVssd,
}

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
        let socket = self.backend.socket(vm);
        let origin = self.origin.as_ref().map(|origin| origin.socket(vm));
        let drives = Drives {
            vssd: Some(&socket),
            origin: origin.as_deref(),
            trace: self.trace.as_deref(),
        };
        Ok(FleetVm {
            guest: self.vm_host.launch(drives, folder)?,
            vssd: self.backend.vssd(vm),
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

impl Testbed for FleetVm {
    fn transport(&self) -> Transport {
        Transport::Qemu
    }

    fn capacity(&self) -> u32 {
        self.guest.ready.capacity
    }

    fn guest(&mut self) -> &mut dyn GuestChannel {
        &mut self.guest
    }

    fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized> {
        self.vssd.resize_to(blocks, options)
    }

    fn status(&mut self) -> Result<VssdStatus> {
        self.vssd.status()
    }

    fn set_encoding(&mut self, encoding: EncodingName) -> Result<()> {
        self.vssd.set_encoding(encoding)
    }

    fn observe(&mut self, pick: HostPick) -> Result<()> {
        self.vssd.observe(pick)
    }

    fn advise(&mut self, advice: Advice) -> Result<()> {
        self.vssd.advise(advice)
    }

    fn demand(&mut self) -> Result<Option<DemandStatus>> {
        self.vssd.demand()
    }

    fn last_log_line(&self) -> String {
        self.vssd.last_log_line()
    }

    fn shut_down(self: Box<Self>) -> Result<()> {
        self.guest.shut_down()
    }
}
