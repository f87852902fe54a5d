//! A Linux guest on a vSSD, with the backend as a process.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use vssd_host::control::protocol::VssdStatus;

use super::guest::LinuxGuest;
use super::image::LinuxImage;
use super::launch::{CPUS, LinuxDisk, LinuxLaunch};
use crate::backend::{Backend, BackendConfig, ServedVssd};
use crate::resources::temporary_folder;
use crate::testbed::Shape;
use crate::vm_host::VmHost;

/// Memory of the guest, MiB. The image takes 100.
const MEMORY_MIB: u32 = 512;

/// Timeout for the agent and the device to agree on the list.
const AGREE_PATIENCE: Duration = Duration::from_secs(120);

/// A guest whose `/dev/vda` is a vSSD.
pub struct LinuxTestbed {
    // Dropped before the backend that it uses.
    pub guest: LinuxGuest,
    pub vssd: ServedVssd,
    backend: Backend,
    folder: TempDir,
}

impl LinuxTestbed {
    /// Starts a backend with one vSSD and a guest on it. More disks follow it as `/dev/vdb` and
    /// so on.
    ///
    /// # Errors
    /// When the disk is too small, or one of them does not start.
    pub fn start(
        vm_host: &VmHost,
        image: &LinuxImage,
        shape: Shape,
        more: Vec<LinuxDisk>,
    ) -> Result<Self> {
        let folder = temporary_folder(shape.written)?;
        let queues = CPUS as u16;
        let backend = Backend::start(BackendConfig {
            program: vm_host.program.clone(),
            folder: folder.path().to_owned(),
            size: shape.size,
            block_size: shape.block_size,
            media: None,
            sharing: None,
            agent_queues: Some(queues),
        })?;
        let own = LinuxDisk::VhostUser {
            socket: backend.socket(0),
            queues,
        };
        let launch = LinuxLaunch {
            machine: vm_host.machine,
            accel: vm_host.accel,
            memory_mib: MEMORY_MIB,
            disks: std::iter::once(own).chain(more).collect(),
            agent: Some(backend.agent_socket(0)),
        };
        let place = folder.path().join("guest");
        fs::create_dir(&place).with_context(|| format!("create {}", place.display()))?;
        let guest = LinuxGuest::boot(&vm_host.qemu, image, launch, place)?;
        Ok(Self {
            guest,
            vssd: backend.vssd(0),
            backend,
            folder,
        })
    }

    /// The folder of the backend.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the agent has confirmed its list; returns the status then.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_agreed(&self) -> Result<VssdStatus> {
        let until = Instant::now() + AGREE_PATIENCE;
        loop {
            let status = self.vssd.status()?;
            if status.driver && status.agreed {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!(
                    "the guest's agent did not confirm its list within {} s; last log line of the \
                     backend: {}",
                    AGREE_PATIENCE.as_secs(),
                    self.vssd.last_log_line()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the backend with SIGKILL while the guest runs, and starts another on the same files.
    ///
    /// # Errors
    /// When it does not start.
    pub fn kill_backend(self) -> Result<Self> {
        let backend = self.backend.kill_and_restart()?;
        Ok(Self {
            vssd: backend.vssd(0),
            backend,
            ..self
        })
    }

    /// Cuts the guest's power and boots it again.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn cut_power(self) -> Result<Self> {
        Ok(Self {
            guest: self.guest.cut_power()?,
            ..self
        })
    }

    /// Ends the guest, then the backend.
    ///
    /// # Errors
    /// When the guest does not end.
    pub fn shut_down(self) -> Result<()> {
        self.guest.shut_down()
    }
}
