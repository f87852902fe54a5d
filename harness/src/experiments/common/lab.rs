//! What experiments run on, and with.

use anyhow::{Result, bail};
use lab::backend::Backend;
use lab::testbed::{Disks, Testbed};
use lab::twin::Twin;
use lab::vm_host::{VmHost, VmTestbed};
use results::manifest::{Conditions, QemuFacts};
use results::store::RunFolder;
use terminal::progress::Progress;

use super::boot;

/// What a report on twins says of times.
pub(crate) const TIMES_ARE_VIRTUAL: &str = "Times are not judged: the guests were twins, whose clock is virtual. \
     Measure them with `--transport qemu`.";

/// What experiments run on.
#[derive(Clone, Debug)]
pub enum Joined {
    /// Guests under QEMU.
    Qemu(VmHost),
    /// Twins in this process.
    Twin,
    /// No guest takes part.
    Alone,
}

impl Joined {
    /// Its name in manifests and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Qemu(_) => "qemu",
            Self::Twin => "twin",
            Self::Alone => "none",
        }
    }
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
    /// Whether guests run under QEMU, whose times count.
    pub fn is_timed(&self) -> bool {
        matches!(self.joined, Joined::Qemu(_))
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
            "cargo run --bin harness -- run {experiment} --seed {}",
            self.seed
        );
        if !matches!(self.joined, Joined::Alone) {
            reproduce.push_str(&format!(" --transport {}", self.joined.name()));
        }
        let qemu = match &self.joined {
            Joined::Twin | Joined::Alone => None,
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
            transport: self.joined.name().to_owned(),
            transport_reason: transport_reason.to_owned(),
            qemu,
        }
    }

    /// Starts a guest on a vSSD of which it holds every block.
    pub fn testbed(
        &self,
        disks: impl Into<Disks>,
        folder: &mut RunFolder,
    ) -> Result<Box<dyn Testbed>> {
        match &self.joined {
            Joined::Qemu(_) => Ok(Box::new(self.bench(disks, folder)?)),
            Joined::Twin => Ok(Box::new(Twin::start(disks)?)),
            Joined::Alone => bail!("this experiment has no guests"),
        }
    }

    /// What starts guests under QEMU.
    ///
    /// # Errors
    /// When guests are twins.
    pub fn vm_host(&self) -> Result<&VmHost> {
        match &self.joined {
            Joined::Qemu(vm_host) => Ok(vm_host),
            Joined::Twin | Joined::Alone => bail!("guests of this experiment run under QEMU only"),
        }
    }

    /// Starts a guest under QEMU, for an experiment that measures nothing but
    /// time, and records its boot.
    pub fn bench(&self, disks: impl Into<Disks>, folder: &mut RunFolder) -> Result<VmTestbed> {
        self.bench_with(disks, |_| Ok(()), folder)
    }

    /// The same; before the guest boots, `prepare` is given the backend of its origin
    /// disk.
    pub fn bench_with(
        &self,
        disks: impl Into<Disks>,
        prepare: impl FnOnce(&Backend) -> Result<()>,
        folder: &mut RunFolder,
    ) -> Result<VmTestbed> {
        let vm_host = self.vm_host()?;
        let bench = vm_host.start_with(disks, prepare)?;
        boot::record(folder, vm_host, &bench.guest)?;
        Ok(bench)
    }
}
