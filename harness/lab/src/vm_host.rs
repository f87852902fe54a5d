//! Guests under QEMU, each on a backend process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use vssd_host::control::protocol::{EncodingName, Resized, TrackerName, VssdStatus};
use vssd_host::size::ByteSize;

use crate::accel::Accel;
use crate::backend::{Backend, BackendConfig, Resizer};
use crate::guest::{Guest, GuestFolder};
use crate::qemu::{Drives, Launch, Machine, Qemu};
use crate::resources::check_room;
use crate::testbed::{Disks, OriginShape, ResizeOptions, Talk, Testbed, Transport};

/// How long a guest may take to its first word, under the slowest accelerator.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(300);

/// How long the backend may take to answer about a resize, past its deadline.
const RESIZE_PATIENCE: Duration = Duration::from_secs(600);

/// Bytes in a block of an origin disk.
const ORIGIN_BLOCK: ByteSize = ByteSize(4096);

/// Memory of a guest, MiB: what it keeps of 8 million blocks takes 50, and the numbers
/// of the writes to all of a 40 GiB origin disk 80.
const GUEST_MEMORY_MIB: u32 = 256;

/// What guests run on.
#[derive(Clone, Debug)]
pub struct VmHost {
    /// The QEMU.
    pub qemu: Qemu,
    /// The machine type.
    pub machine: Machine,
    /// The accelerator.
    pub accel: Accel,
    /// Why that one.
    pub accel_reason: String,
    /// This program, which is the backend as well.
    pub program: PathBuf,
}

/// A guest under QEMU on a backend, and the folder in which both keep their things.
pub struct VmTestbed {
    /// The guest; dropped first.
    pub guest: Guest,
    /// The backend.
    pub backend: Backend,
    /// The backend of the origin disk.
    pub origin: Option<Backend>,
    trace: Option<PathBuf>,
    resizer: Option<Resizer>,
    folder: TempDir,
}

impl VmHost {
    /// Starts a backend with one vSSD and a guest on it, and on a backend of its own an
    /// origin disk where there is to be one.
    ///
    /// # Errors
    /// When the disk is too small, or one of them does not start.
    pub fn start(&self, disks: impl Into<Disks>) -> Result<VmTestbed> {
        self.start_with(disks, |_| Ok(()))
    }

    /// The same; before the guest boots, `prepare` is given the backend of the origin
    /// disk.
    ///
    /// # Errors
    /// Likewise, or when `prepare` fails.
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
        check_room(&std::env::temp_dir(), shape.written)?;
        let folder = tempfile::Builder::new()
            .prefix("vssd-")
            .tempdir()
            .context("make a temporary folder")?;
        let backend = Backend::start(BackendConfig {
            program: self.program.clone(),
            folder: folder.path().to_owned(),
            size: shape.size,
            block_size: shape.block_size,
            media: None,
            sharing: None,
        })?;
        let origin = origin
            .map(|origin| self.start_origin(origin, folder.path().join("origin")))
            .transpose()?;
        origin.as_ref().map(prepare).transpose()?;
        let guest = self.boot(&backend, origin.as_ref(), trace.as_deref(), folder.path())?;
        Ok(VmTestbed {
            guest,
            backend,
            origin,
            trace,
            resizer: None,
            folder,
        })
    }

    /// Starts the backend of an origin disk: of a pool that has room for all of it, so
    /// that no block of it is ever anybody else's.
    fn start_origin(&self, shape: OriginShape, folder: PathBuf) -> Result<Backend> {
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        Backend::start(BackendConfig {
            program: self.program.clone(),
            folder,
            size: shape.size,
            block_size: ORIGIN_BLOCK,
            media: shape.media,
            sharing: None,
        })
    }

    fn boot(
        &self,
        backend: &Backend,
        origin: Option<&Backend>,
        trace: Option<&Path>,
        folder: &Path,
    ) -> Result<Guest> {
        let socket = backend.socket(0);
        let origin_socket = origin.map(|origin| origin.socket(0));
        let drives = Drives {
            vssd: Some(&socket),
            origin: origin_socket.as_deref(),
            trace,
        };
        self.launch(drives, folder.to_owned())
    }

    /// Starts a guest on these disks that keeps its sockets and logs in `folder`.
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
    /// Ends this guest and boots another on the same disks.
    ///
    /// # Errors
    /// When the guest does not end well, or the other does not come up.
    pub fn reboot(self, vm_host: &VmHost) -> Result<Self> {
        self.replace(vm_host, Guest::shut_down)
    }

    /// Kills this guest as `kill -9` of its QEMU does, and boots another on the same
    /// disks.
    ///
    /// # Errors
    /// When the other does not come up.
    pub fn kill_guest(self, vm_host: &VmHost) -> Result<Self> {
        self.kill_guest_and(vm_host, || Ok(()))
    }

    /// The same; `look` comes between, when no guest is connected to the disks.
    ///
    /// # Errors
    /// When `look` fails, or the other guest does not come up.
    pub fn kill_guest_and(
        self,
        vm_host: &VmHost,
        look: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        self.replace(vm_host, |guest| {
            drop(guest);
            look()
        })
    }

    fn replace(self, vm_host: &VmHost, end: impl FnOnce(Guest) -> Result<()>) -> Result<Self> {
        let Self {
            guest,
            backend,
            origin,
            trace,
            folder,
            ..
        } = self;
        end(guest)?;
        let guest = vm_host.boot(&backend, origin.as_ref(), trace.as_deref(), folder.path())?;
        Ok(Self {
            guest,
            backend,
            origin,
            trace,
            resizer: None,
            folder,
        })
    }

    /// Kills the backend as `kill -9` does and starts another on the same files,
    /// under the feet of the guest.
    pub fn kill_backend(self) -> Result<Self> {
        Ok(Self {
            backend: self.backend.kill_and_restart()?,
            resizer: None,
            ..self
        })
    }

    /// Ends the guest in good order, then the backend.
    pub fn shut_down(self) -> Result<()> {
        self.guest.shut_down()
    }
}

impl Testbed for VmTestbed {
    fn transport(&self) -> Transport {
        Transport::Qemu
    }

    fn capacity(&self) -> u32 {
        self.guest.ready.capacity
    }

    fn guest(&mut self) -> &mut dyn Talk {
        &mut self.guest
    }

    fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized> {
        // The connection is kept, so that a timed resize does not pay for it.
        let resizer = match &mut self.resizer {
            Some(resizer) => resizer,
            none => none.insert(self.backend.resizer(RESIZE_PATIENCE)?),
        };
        resizer.resize_to(blocks, options)
    }

    fn status(&mut self) -> Result<VssdStatus> {
        self.backend.status()
    }

    fn set_encoding(&mut self, encoding: EncodingName) -> Result<()> {
        self.backend.set_encoding(encoding)
    }

    fn observe(&mut self, observer: TrackerName) -> Result<()> {
        self.backend.observe(observer)
    }

    fn last_words(&self) -> String {
        self.backend.last_words()
    }

    fn shut_down(self: Box<Self>) -> Result<()> {
        VmTestbed::shut_down(*self)
    }
}
