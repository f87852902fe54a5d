//! The experiments: each runs guests and records rows, and judges nothing.
//!
//! An experiment is a TOML file of parameters, with the values of 2017 as
//! defaults, and a module that runs it. Judging and drawing is for
//! [`crate::present`], from the recorded rows alone.

pub mod correctness;
pub mod eviction;
pub mod overhead;
pub mod params;

use anyhow::Result;
use clap::ValueEnum;

use crate::present::store::RunFolder;
use crate::progress::Progress;
use crate::record::BootRow;
use crate::testbed::{Shape, Testbed, Transport};
use crate::twin::Twin;
use crate::vm_host::VmHost;

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Experiment {
    /// Read errors equal the blocks that the host holds, at every size.
    Correctness,
    /// Guest-managed against hypervisor-managed eviction under Gaussian reads.
    Eviction,
    /// Time to shrink and to grow.
    Overhead,
}

impl Experiment {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Correctness, Self::Eviction, Self::Overhead];

    /// Its name, as on the command line and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correctness => "correctness",
            Self::Eviction => "eviction",
            Self::Overhead => "overhead",
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
        }
    }

    /// Its parameters, as TOML: the quick form, and what the full form changes.
    pub fn defaults(self) -> &'static str {
        match self {
            Self::Correctness => include_str!("../../experiments/correctness.toml"),
            Self::Eviction => include_str!("../../experiments/eviction.toml"),
            Self::Overhead => include_str!("../../experiments/overhead.toml"),
        }
    }

    /// Checks parameters without running anything.
    pub fn check(self, params: &toml::Table) -> Result<()> {
        match self {
            Self::Correctness => correctness::Params::from_table(params).map(drop),
            Self::Eviction => eviction::Params::from_table(params).map(drop),
            Self::Overhead => overhead::Params::from_table(params).map(drop),
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
        }
    }
}

/// What experiments run on.
#[derive(Clone, Debug)]
pub enum Joined {
    /// Guests under QEMU.
    Qemu(VmHost),
    /// Twins in this process.
    Twin,
}

/// What experiments run with.
#[derive(Clone, Debug)]
pub struct Lab {
    /// How guests and devices are joined.
    pub joined: Joined,
    /// Where all randomness of a run comes from.
    pub seed: u64,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Lab {
    /// How guests and devices are joined.
    pub fn transport(&self) -> Transport {
        match self.joined {
            Joined::Qemu(_) => Transport::Qemu,
            Joined::Twin => Transport::Twin,
        }
    }

    /// Starts a guest on a vSSD of which it holds every block. A boot of QEMU
    /// is recorded.
    pub fn testbed(
        &self,
        experiment: Experiment,
        shape: Shape,
        folder: &mut RunFolder,
    ) -> Result<Box<dyn Testbed>> {
        match &self.joined {
            Joined::Twin => Ok(Box::new(Twin::start(shape)?)),
            Joined::Qemu(vm_host) => {
                let bench = vm_host.start(shape)?;
                folder.append(&BootRow {
                    experiment: experiment.name().to_owned(),
                    machine: vm_host.machine.to_string(),
                    accelerator: vm_host.accel.to_string(),
                    ready_ns: bench.guest.ready.ready_ns,
                    first_io_guest_ns: bench.guest.ready.first_io_guest_ns,
                })?;
                Ok(Box::new(bench))
            }
        }
    }
}
