//! The experiments: each runs guests and records rows, and judges nothing.
//!
//! An experiment is a TOML file of parameters, with the values of 2017 as
//! defaults, and a module that runs it. Judging and drawing is for
//! [`crate::present`], from the recorded rows alone.

pub mod correctness;
pub mod eviction;
pub mod latency;
pub mod overhead;
pub mod params;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;
use vssd_host::size::ByteSize;
use workloads::{Command, Report};

use crate::accel::Accel;
use crate::backend::{Backend, BackendConfig, check_room};
use crate::guest::{Guest, GuestFolder};
use crate::present::store::RunFolder;
use crate::progress::Progress;
use crate::qemu::{Launch, Machine, Qemu};
use crate::record::BootRow;

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// Read errors equal the blocks that the host holds, at every size.
    Correctness,
    /// Guest-managed against hypervisor-managed eviction under Gaussian reads.
    Eviction,
    /// Time to shrink and to grow.
    Overhead,
    /// Latency of requests before, during and after a shrink and a grow.
    Latency,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Correctness,
        Self::Eviction,
        Self::Overhead,
        Self::Latency,
    ];

    /// Those of 2017, in the order in which they run when none is named.
    pub const OF_2017: [Self; 3] = [Self::Correctness, Self::Eviction, Self::Overhead];

    /// Its name, as on the command line and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correctness => "correctness",
            Self::Eviction => "eviction",
            Self::Overhead => "overhead",
            Self::Latency => "latency",
        }
    }

    /// The experiment of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.name() == name)
    }

    /// What it shows, in a sentence.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Correctness => {
                "after every resize the guest can read exactly the blocks it holds, and they carry \
                 what was written"
            }
            Self::Eviction => {
                "a guest that picks the blocks to give up by its use of them misses far less than \
                 one whose hypervisor picks"
            }
            Self::Overhead => "how long it takes to shrink a vSSD and to grow it back",
            Self::Latency => {
                "what requests of a guest under load feel of a shrink and of the grow that takes it \
                 back"
            }
        }
    }

    /// Its parameters, as TOML: the quick form, and what the full form changes.
    pub fn defaults(self) -> &'static str {
        match self {
            Self::Correctness => include_str!("../../experiments/correctness.toml"),
            Self::Eviction => include_str!("../../experiments/eviction.toml"),
            Self::Overhead => include_str!("../../experiments/overhead.toml"),
            Self::Latency => include_str!("../../experiments/latency.toml"),
        }
    }

    /// Checks parameters without running anything.
    pub fn check(self, params: &toml::Table) -> Result<()> {
        match self {
            Self::Correctness => correctness::Params::from_table(params).map(drop),
            Self::Eviction => eviction::Params::from_table(params).map(drop),
            Self::Overhead => overhead::Params::from_table(params).map(drop),
            Self::Latency => latency::Params::from_table(params).map(drop),
        }
    }

    /// Runs it and records what it measures.
    pub fn run(self, params: &toml::Table, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
        match self {
            Self::Correctness => {
                correctness::run(&correctness::Params::from_table(params)?, lab, folder)
            }
            Self::Eviction => eviction::run(&eviction::Params::from_table(params)?, lab, folder),
            Self::Overhead => overhead::run(&overhead::Params::from_table(params)?, lab, folder),
            Self::Latency => latency::run(&latency::Params::from_table(params)?, lab, folder),
        }
    }
}

/// What experiments run with.
#[derive(Debug)]
pub struct Lab {
    /// The QEMU.
    pub qemu: Qemu,
    /// The machine type.
    pub machine: Machine,
    /// The accelerator.
    pub accel: Accel,
    /// This program, which is the backend as well.
    pub program: PathBuf,
    /// Where all randomness of a run comes from.
    pub seed: u64,
    /// Where progress is shown.
    pub progress: Progress,
}

/// How long a guest may take to its first word, under the slowest accelerator.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(60);

/// How long a guest may take to write all it holds.
const FILL_PATIENCE: Duration = Duration::from_secs(300);

/// Memory of a guest, MiB: what it keeps of 8 million blocks takes 50.
const GUEST_MEMORY_MIB: u32 = 256;

/// A backend with a guest on it, and the folder in which both keep their things.
pub struct Bench {
    /// The guest; dropped first.
    pub guest: Guest,
    /// The backend.
    pub backend: Backend,
    folder: TempDir,
}

impl Lab {
    /// Starts a backend with one vSSD and a guest on it, and records the boot.
    /// The experiment will write `written` bytes at most.
    pub fn bench(
        &self,
        experiment: &str,
        size: ByteSize,
        block_size: ByteSize,
        written: ByteSize,
        folder: &mut RunFolder,
    ) -> Result<Bench> {
        check_room(&std::env::temp_dir(), written)?;
        let bench = self.start(size, block_size)?;
        folder.append(&BootRow {
            experiment: experiment.to_owned(),
            machine: self.machine.to_string(),
            accelerator: self.accel.to_string(),
            ready_ns: bench.guest.ready.ready_ns,
            first_io_guest_ns: bench.guest.ready.first_io_guest_ns,
        })?;
        Ok(bench)
    }

    /// Starts a backend with one vSSD and a guest on it.
    pub fn start(&self, size: ByteSize, block_size: ByteSize) -> Result<Bench> {
        let folder = tempfile::Builder::new()
            .prefix("vssd-")
            .tempdir()
            .context("make a temporary folder")?;
        let backend = Backend::start(BackendConfig {
            program: self.program.clone(),
            folder: folder.path().to_owned(),
            size,
            block_size,
        })?;
        let guest = self.boot(&backend, folder.path().to_owned())?;
        Ok(Bench {
            guest,
            backend,
            folder,
        })
    }

    fn boot(&self, backend: &Backend, folder: PathBuf) -> Result<Guest> {
        self.launch(Some(&backend.socket()), folder)
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
    /// Has the guest write every block it holds.
    pub fn fill(&mut self, seed: u64) -> Result<()> {
        let reports = self.guest.run(&Command::Fill { seed }, FILL_PATIENCE)?;
        match reports.last() {
            Some(Report::Filled { errors: 0, .. }) => Ok(()),
            Some(Report::Filled { errors, .. }) => bail!(
                "{errors} blocks could not be written; the backend said: {}",
                self.backend.last_words()
            ),
            other => bail!("the guest did not say what it wrote, but {other:?}"),
        }
    }

    /// Ends this guest and boots another on the same backend.
    pub fn reboot(self, lab: &Lab) -> Result<Self> {
        let Self {
            guest,
            backend,
            folder,
        } = self;
        guest.shut_down()?;
        let guest = lab.boot(&backend, folder.path().to_owned())?;
        Ok(Self {
            guest,
            backend,
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
        } = self;
        Ok(Self {
            guest,
            backend: backend.kill_and_restart()?,
            folder,
        })
    }

    /// Ends the guest in good order, then the backend.
    pub fn shut_down(self) -> Result<()> {
        self.guest.shut_down()
    }
}
