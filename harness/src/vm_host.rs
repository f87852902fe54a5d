//! Guests under QEMU, each on a backend process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use vssd_host::control::protocol::{EncodingName, ObserverName, Resized, VssdStatus};

use crate::accel::Accel;
use crate::backend::{Backend, BackendConfig, Resizer};
use crate::guest::{Guest, GuestFolder};
use crate::qemu::{Launch, Machine, Qemu};
use crate::resources::check_room;
use crate::testbed::{ResizeOptions, Shape, Talk, Testbed, Transport};

/// How long a guest may take to its first word, under the slowest accelerator.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(60);

/// How long the backend may take to answer about a resize, past its deadline.
const RESIZE_PATIENCE: Duration = Duration::from_secs(600);

/// Memory of a guest, MiB: what it keeps of 8 million blocks takes 50.
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
pub struct Bench {
    /// The guest; dropped first.
    pub guest: Guest,
    /// The backend.
    pub backend: Backend,
    resizer: Option<Resizer>,
    folder: TempDir,
}

impl VmHost {
    /// Starts a backend with one vSSD and a guest on it.
    pub fn start(&self, shape: Shape) -> Result<Bench> {
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
            sharing: None,
        })?;
        let guest = self.launch(Some(&backend.socket(0)), folder.path().to_owned())?;
        Ok(Bench {
            guest,
            backend,
            resizer: None,
            folder,
        })
    }

    /// Starts a guest, on the vSSD behind `socket` or on none, that keeps its
    /// sockets and logs in `folder`.
    pub fn launch(&self, socket: Option<&Path>, folder: PathBuf) -> Result<Guest> {
        let launch = Launch {
            machine: self.machine,
            accel: self.accel,
            memory_mib: GUEST_MEMORY_MIB,
            vssd: socket,
            append: "",
        };
        Guest::boot(&self.qemu, &launch, &GuestFolder(folder), BOOT_PATIENCE)
    }
}

impl Bench {
    /// Ends this guest and boots another on the same backend.
    pub fn reboot(self, vm_host: &VmHost) -> Result<Self> {
        let Self {
            guest,
            backend,
            folder,
            ..
        } = self;
        guest.shut_down()?;
        let guest = vm_host.launch(Some(&backend.socket(0)), folder.path().to_owned())?;
        Ok(Self {
            guest,
            backend,
            resizer: None,
            folder,
        })
    }

    /// Kills the backend as `kill -9` does and starts another on the same files,
    /// under the feet of the guest.
    pub fn kill_backend(self) -> Result<Self> {
        let Self {
            guest,
            backend,
            folder,
            ..
        } = self;
        Ok(Self {
            guest,
            backend: backend.kill_and_restart()?,
            resizer: None,
            folder,
        })
    }

    /// Ends the guest in good order, then the backend.
    pub fn shut_down(self) -> Result<()> {
        self.guest.shut_down()
    }
}

impl Testbed for Bench {
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

    fn observe(&mut self, observer: ObserverName) -> Result<()> {
        self.backend.observe(observer)
    }

    fn last_words(&self) -> String {
        self.backend.last_words()
    }

    fn shut_down(self: Box<Self>) -> Result<()> {
        Bench::shut_down(*self)
    }
}
