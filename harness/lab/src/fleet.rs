//! Several guests under QEMU that share the pool of one backend.

use std::fs;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::backend::{Backend, BackendConfig, Sharing, vssd_name};
use crate::guest::Guest;
use crate::qemu::Drives;
use crate::resources::temporary_folder;
use crate::testbed::Shape;
use crate::vm_host::VmHost;

/// Guests, by VM, and their backend.
pub struct Fleet {
    // Dropped before the backend that they use.
    pub guests: Vec<Guest>,
    pub backend: Backend,
    vm_host: VmHost,
    folder: TempDir,
}

impl Fleet {
    /// Starts a backend with a vSSD of `shape` for each VM, and the guests on them.
    ///
    /// # Errors
    /// When the disk is too small, or one of them does not start.
    pub fn start(vm_host: &VmHost, shape: Shape, sharing: Sharing) -> Result<Self> {
        let folder = temporary_folder(shape.written)?;
        let backend = Backend::start(BackendConfig {
            program: vm_host.program.clone(),
            folder: folder.path().to_owned(),
            size: shape.size,
            block_size: shape.block_size,
            media: None,
            sharing: Some(sharing),
        })?;
        let mut fleet = Self {
            guests: Vec::new(),
            backend,
            vm_host: vm_host.clone(),
            folder,
        };
        for vm in 0..sharing.vms {
            let guest = fleet.boot(vm)?;
            fleet.guests.push(guest);
        }
        Ok(fleet)
    }

    fn boot(&self, vm: usize) -> Result<Guest> {
        let folder = self.folder.path().join(vssd_name(vm));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let socket = self.backend.socket(vm);
        let drives = Drives {
            vssd: Some(&socket),
            ..Drives::default()
        };
        self.vm_host.launch(drives, folder)
    }

    /// Kills the QEMU of a VM with SIGKILL and boots the VM again.
    ///
    /// # Errors
    /// When the VM does not boot again.
    pub fn kill_guest(&mut self, vm: usize) -> Result<()> {
        drop(self.guests.remove(vm));
        let guest = self.boot(vm)?;
        self.guests.insert(vm, guest);
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
        Ok(Self { backend, ..self })
    }

    /// Shuts all guests down, then the backend.
    ///
    /// # Errors
    /// When a guest exits with an error or not at all.
    pub fn shut_down(self) -> Result<()> {
        self.guests.into_iter().try_for_each(Guest::shut_down)
    }
}
