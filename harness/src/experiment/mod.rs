//! The experiments: each runs guests and records rows, and judges nothing.
//!
//! An experiment is a TOML file of parameters, with the values of 2017 as
//! defaults, and a module that runs it. Judging and drawing is for
//! [`crate::present`], from the recorded rows alone.

pub mod block_cache;
pub mod cached;
pub mod correctness;
pub mod direct_io;
pub mod eviction;
pub mod latency;
pub mod media;
pub mod overhead;
pub mod params;
pub mod sharing;
pub mod shrink_cache;
pub mod write_policy;

use anyhow::{Result, bail};
use clap::ValueEnum;
use lab::backend::Backend;
use lab::guest::Guest;
use lab::testbed::{Disks, Testbed, Transport};
use lab::twin::Twin;
use lab::vm_host::{Bench, VmHost};
use results::manifest::{Conditions, QemuFacts};
use results::store::RunFolder;
use terminal::progress::Progress;

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
    /// Several guests on one pool that is too small for all of them.
    Sharing,
    /// What of the pool the host's page cache holds.
    DirectIo,
    /// Media that are not there, beside their models.
    Media,
    /// Misses of the guest's block cache, by eviction policy and size.
    BlockCache,
    /// What the write policies of that cache cost, and what they lose.
    WritePolicy,
    /// That cache through a shrink and the grow back.
    ShrinkCache,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Correctness,
        Self::Eviction,
        Self::Overhead,
        Self::Latency,
        Self::Sharing,
        Self::DirectIo,
        Self::Media,
        Self::BlockCache,
        Self::WritePolicy,
        Self::ShrinkCache,
    ];

    /// Those of 2017, in the order in which they run when none is named.
    pub const OF_2017: [Self; 3] = [Self::Correctness, Self::Eviction, Self::Overhead];

    /// Why it runs under QEMU only; `None` when it does not.
    fn needs_qemu(self) -> Option<&'static str> {
        match self {
            Self::Latency | Self::Media => Some("measures times, and a twin has none"),
            Self::WritePolicy => Some("measures times and kills guests, and a twin has no times"),
            Self::Sharing => {
                Some("puts several guests on one backend, and a twin is a guest on its own")
            }
            Self::Correctness
            | Self::Eviction
            | Self::Overhead
            | Self::DirectIo
            | Self::BlockCache
            | Self::ShrinkCache => None,
        }
    }

    /// Its name, as on the command line and in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correctness => "correctness",
            Self::Eviction => "eviction",
            Self::Overhead => "overhead",
            Self::Latency => "latency",
            Self::Sharing => "sharing",
            Self::DirectIo => "direct-io",
            Self::Media => "media",
            Self::BlockCache => "blockcache",
            Self::WritePolicy => "writepolicy",
            Self::ShrinkCache => "shrinkcache",
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
                "how many reads miss after a shrink, by who picks the blocks to give up, and by what"
            }
            Self::Overhead => "how long it takes to shrink a vSSD and to grow it back",
            Self::Latency => {
                "what requests of a guest under load feel of a shrink and of the grow that takes it \
                 back"
            }
            Self::Sharing => {
                "several guests on one pool that is too small for all of them: blocks move between \
                 them under load, guests and the backend are killed, and nobody ever reads what \
                 another wrote"
            }
            Self::DirectIo => {
                "how much of what a client writes and reads the host's page cache keeps, past it and \
                 through it"
            }
            Self::Media => {
                "what a client and a guest measure of a disk, of flash and of memories that are not \
                 there, beside what their models say, and how these wear"
            }
            Self::BlockCache => {
                "how many accesses miss the guest's block cache on a vSSD, by eviction policy and \
                 size, and how long hits and misses take in front of a disk"
            }
            Self::WritePolicy => {
                "what each write policy of the guest's block cache costs, how far it leaves the disk \
                 behind, and what is lost when the guest is killed"
            }
            Self::ShrinkCache => {
                "how often the guest's block cache hits while the vSSD under it shrinks and grows \
                 back, by who chooses what goes, and which writes that loses"
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
            Self::Sharing => include_str!("../../experiments/sharing.toml"),
            Self::DirectIo => include_str!("../../experiments/direct-io.toml"),
            Self::Media => include_str!("../../experiments/media.toml"),
            Self::BlockCache => include_str!("../../experiments/blockcache.toml"),
            Self::WritePolicy => include_str!("../../experiments/writepolicy.toml"),
            Self::ShrinkCache => include_str!("../../experiments/shrinkcache.toml"),
        }
    }

    /// Checks parameters without running anything.
    pub fn check(self, params: &toml::Table) -> Result<()> {
        match self {
            Self::Correctness => correctness::Params::from_table(params).map(drop),
            Self::Eviction => eviction::Params::from_table(params).map(drop),
            Self::Overhead => overhead::Params::from_table(params).map(drop),
            Self::Latency => latency::Params::from_table(params).map(drop),
            Self::Sharing => sharing::Params::from_table(params).map(drop),
            Self::DirectIo => direct_io::Params::from_table(params).map(drop),
            Self::Media => media::Params::from_table(params).map(drop),
            Self::BlockCache => block_cache::Params::from_table(params).map(drop),
            Self::WritePolicy => write_policy::Params::from_table(params).map(drop),
            Self::ShrinkCache => shrink_cache::Params::from_table(params).map(drop),
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
            Self::Sharing => sharing::run(&sharing::Params::from_table(params)?, lab, folder),
            Self::DirectIo => direct_io::run(&direct_io::Params::from_table(params)?, lab, folder),
            Self::Media => media::run(&media::Params::from_table(params)?, lab, folder),
            Self::BlockCache => {
                block_cache::run(&block_cache::Params::from_table(params)?, lab, folder)
            }
            Self::WritePolicy => {
                write_policy::run(&write_policy::Params::from_table(params)?, lab, folder)
            }
            Self::ShrinkCache => {
                shrink_cache::run(&shrink_cache::Params::from_table(params)?, lab, folder)
            }
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

    /// Under which conditions a run starts.
    pub fn conditions(
        &self,
        transport_reason: &str,
        experiment: &'static str,
        full: bool,
        parameters: &toml::Table,
    ) -> Conditions {
        let mut reproduce = format!(
            "cargo run --bin harness -- run {} --seed {} --transport {}",
            experiment,
            self.seed,
            self.transport()
        );
        let qemu = match &self.joined {
            Joined::Twin => None,
            Joined::Qemu(vm_host) => {
                let VmHost { accel, machine, .. } = vm_host;
                reproduce.push_str(&format!(" --accel {accel} --machine {machine}"));
                Some(QemuFacts {
                    version: vm_host.qemu.version.clone(),
                    machine: machine.to_string(),
                    accelerator: accel.to_string(),
                    accelerator_reason: vm_host.accel_reason.clone(),
                })
            }
        };
        if full {
            reproduce.push_str(" --full");
        }
        for (key, value) in parameters {
            reproduce.push_str(&format!(" --set '{key}={value}'"));
        }
        Conditions {
            experiment,
            full,
            seed: self.seed,
            parameters: parameters.clone(),
            reproduce,
            transport: self.transport().to_string(),
            transport_reason: transport_reason.to_owned(),
            qemu,
        }
    }

    /// Starts a guest on a vSSD of which it holds every block.
    pub fn testbed(
        &self,
        experiment: Experiment,
        disks: impl Into<Disks>,
        folder: &mut RunFolder,
    ) -> Result<Box<dyn Testbed>> {
        match &self.joined {
            Joined::Twin => Ok(Box::new(Twin::start(disks)?)),
            Joined::Qemu(_) => Ok(Box::new(self.bench(experiment, disks, folder)?)),
        }
    }

    /// Makes sure that an experiment can run here.
    pub fn check(&self, experiment: Experiment) -> Result<()> {
        match (experiment.needs_qemu(), self.transport()) {
            (Some(why), Transport::Twin) => bail!(
                "{} {why}: install QEMU by ./setup, and run it without `--transport twin`",
                experiment.name()
            ),
            _ => Ok(()),
        }
    }

    /// What starts guests under QEMU.
    ///
    /// # Errors
    /// When guests are twins.
    pub fn vm_host(&self, experiment: Experiment) -> Result<&VmHost> {
        match &self.joined {
            Joined::Qemu(vm_host) => Ok(vm_host),
            Joined::Twin => bail!("{} runs guests under QEMU only", experiment.name()),
        }
    }

    /// Starts a guest under QEMU, for an experiment that measures nothing but
    /// time, and records its boot.
    pub fn bench(
        &self,
        experiment: Experiment,
        disks: impl Into<Disks>,
        folder: &mut RunFolder,
    ) -> Result<Bench> {
        self.bench_with(experiment, disks, |_| Ok(()), folder)
    }

    /// The same; before the guest boots, `prepare` is given the backend of its origin
    /// disk.
    pub fn bench_with(
        &self,
        experiment: Experiment,
        disks: impl Into<Disks>,
        prepare: impl FnOnce(&Backend) -> Result<()>,
        folder: &mut RunFolder,
    ) -> Result<Bench> {
        let vm_host = self.vm_host(experiment)?;
        let bench = vm_host.start_with(disks, prepare)?;
        folder.append(&boot_row(experiment, vm_host, &bench.guest))?;
        Ok(bench)
    }
}

/// The row of a guest that was just started.
fn boot_row(experiment: Experiment, vm_host: &VmHost, guest: &Guest) -> BootRow {
    BootRow {
        experiment: experiment.name().to_owned(),
        machine: vm_host.machine.to_string(),
        accelerator: vm_host.accel.to_string(),
        ready_ns: guest.ready.ready_ns,
        first_io_guest_ns: guest.ready.first_io_guest_ns,
    }
}
