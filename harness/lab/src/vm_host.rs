//! Guests under QEMU, each with its own backend process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use vssd::advice::Advice;
use vssd_host::control::protocol::{DemandStatus, EncodingName, Resized, VssdStatus};
use vssd_host::size::ByteSize;
use workloads::HostPick;

use crate::accel::Accel;
use crate::backend::{Backend, BackendConfig, ServedVssd, Sharing};
use crate::guest::{Guest, GuestFolder};
use crate::qemu::{Drives, Launch, Machine, Qemu};
use crate::resources::temporary_folder;
use crate::testbed::{Disks, GuestChannel, OriginShape, ResizeOptions, Testbed, Transport};

/// Timeout for a guest's ready report, under the slowest accelerator.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(300);

/// Bytes in a block of an origin disk.
const ORIGIN_BLOCK: ByteSize = ByteSize(4096);

/// Memory of a guest, MiB: the state of 8 million blocks takes 50, and the write numbers of a
/// 40 GiB origin disk take 80.
const GUEST_MEMORY_MIB: u32 = 256;

/// What guests run on.
#[derive(Clone, Debug)]
pub struct VmHost {
    pub qemu: Qemu,
    pub machine: Machine,
    pub accel: Accel,
    /// Why this accelerator was chosen.
    pub accel_reason: String,
    /// Path of the harness, which also runs as the backend.
    pub program: PathBuf,
}

/// A guest under QEMU on its vSSD, with the backends that are its own.
pub struct Vm<B> {
    // Dropped before the backends that it uses.
    pub guest: Guest,
    pub(crate) vssd: ServedVssd,
    pub backends: B,
}

/// The backends of a single VM, and their temporary folder.
pub struct Backends {
    pub vssd: Backend,
    pub origin: Option<Backend>,
    trace: Option<PathBuf>,
    folder: TempDir,
}

/// A VM with its backends.
pub type VmTestbed = Vm<Backends>;

impl VmHost {
    /// Starts a backend with one vSSD, another for the origin disk if there is one, and a guest
    /// on them.
    ///
    /// # Errors
    /// When the disk is too small, or one of them does not start.
    pub fn start(&self, disks: impl Into<Disks>) -> Result<VmTestbed> {
        self.start_with(disks, |_| Ok(()))
    }

    /// Like [`Self::start`]; `prepare` is called with the backend of the origin disk before the
    /// guest boots.
    ///
    /// # Errors
    /// As [`Self::start`], and when `prepare` fails.
    pub fn start_with(
        &self,
        disks: impl Into<Disks>,
        prepare: impl FnOnce(&Backend) -> Result<()>,
    ) -> Result<VmTestbed> {
        let Disks {
            vssd: shape,
            origin,
            trace,
        } = disks.into();
        let folder = temporary_folder(shape.written)?;
        let vssd = Backend::start(BackendConfig {
            program: self.program.clone(),
            folder: folder.path().to_owned(),
            size: shape.size,
            block_size: shape.block_size,
            media: None,
            sharing: None,
            agent_queues: None,
        })?;
        let origin = origin
            .map(|origin| self.start_origins(origin, folder.path().join("origin"), 1))
            .transpose()?;
        origin.as_ref().map(prepare).transpose()?;
        self.boot_on(Backends {
            vssd,
            origin,
            trace,
            folder,
        })
    }

    /// Starts a backend with an origin disk for each of `vms` VMs. Its pool holds all of them.
    pub(crate) fn start_origins(
        &self,
        shape: OriginShape,
        folder: PathBuf,
        vms: usize,
    ) -> Result<Backend> {
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        Backend::start(BackendConfig {
            program: self.program.clone(),
            folder,
            size: shape.size,
            block_size: ORIGIN_BLOCK,
            media: shape.media,
            sharing: (vms > 1).then_some(Sharing {
                vms,
                pool: ByteSize(shape.size.0 * vms as u64),
                arbiter: None,
            }),
            agent_queues: None,
        })
    }

    fn boot_on(&self, backends: Backends) -> Result<VmTestbed> {
        let Backends {
            vssd,
            origin,
            trace,
            folder,
        } = &backends;
        let folder = folder.path().to_owned();
        let guest = self.boot(0, vssd, origin.as_ref(), trace.as_deref(), folder)?;
        Ok(Vm {
            guest,
            vssd: vssd.vssd(0),
            backends,
        })
    }

    /// Starts the guest of a VM on its disks, with its sockets and logs in `folder`.
    pub(crate) fn boot(
        &self,
        vm: usize,
        vssd: &Backend,
        origin: Option<&Backend>,
        trace: Option<&Path>,
        folder: PathBuf,
    ) -> Result<Guest> {
        let origin = origin.map(|origin| origin.socket(vm));
        let drives = Drives {
            vssd: Some(&vssd.socket(vm)),
            origin: origin.as_deref(),
            trace,
        };
        self.launch(drives, folder)
    }

    /// Starts a guest on these disks, with its sockets and logs in `folder`.
    pub fn launch(&self, drives: Drives<'_>, folder: PathBuf) -> Result<Guest> {
        let launch = Launch {
            machine: self.machine,
            accel: self.accel,
            memory_mib: GUEST_MEMORY_MIB,
            drives,
            append: "",
        };
        Guest::boot(&self.qemu, &launch, &GuestFolder(folder), BOOT_PATIENCE)
    }
}

impl VmTestbed {
    /// Shuts the guest down and boots another on the same disks.
    ///
    /// # Errors
    /// When the guest does not shut down, or the other does not boot.
    pub fn reboot(self, vm_host: &VmHost) -> Result<Self> {
        self.replace(vm_host, Guest::shut_down)
    }

    /// Kills the guest's QEMU with SIGKILL and boots another guest on the same disks.
    ///
    /// # Errors
    /// When the other guest does not boot.
    pub fn kill_guest(self, vm_host: &VmHost) -> Result<Self> {
        self.kill_guest_and(vm_host, || Ok(()))
    }

    /// Like [`Self::kill_guest`]; `inspect` runs in between, while no guest uses the disks.
    ///
    /// # Errors
    /// When `inspect` fails, or the other guest does not boot.
    pub fn kill_guest_and(
        self,
        vm_host: &VmHost,
        inspect: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        self.replace(vm_host, |guest| {
            drop(guest);
            inspect()
        })
    }

    fn replace(self, vm_host: &VmHost, end: impl FnOnce(Guest) -> Result<()>) -> Result<Self> {
        let Self {
            guest, backends, ..
        } = self;
        end(guest)?;
        vm_host.boot_on(backends)
    }

    /// Kills the backend with SIGKILL while the guest runs, and starts another on the same
    /// files.
    pub fn kill_backend(self) -> Result<Self> {
        let Self {
            guest, backends, ..
        } = self;
        let vssd = backends.vssd.kill_and_restart()?;
        Ok(Self {
            guest,
            vssd: vssd.vssd(0),
            backends: Backends { vssd, ..backends },
        })
    }

    /// Shuts the guest down, then the backends.
    pub fn shut_down(self) -> Result<()> {
        self.guest.shut_down()
    }
}

impl<B> Testbed for Vm<B> {
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
