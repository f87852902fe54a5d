//! The choice of QEMU's accelerator.

use std::fs::{self, OpenOptions};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The option `--accel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AccelChoice {
    /// KVM if the processor has hardware virtualization, else TCG.
    #[default]
    Auto,
    /// Emulation.
    Tcg,
    /// KVM, even without hardware virtualization.
    Kvm,
}

/// The accelerator that QEMU uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Accel {
    Tcg,
    Kvm,
}

pub fn can_open_kvm() -> bool {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

/// Whether the processor has VT-x or AMD-V.
pub fn has_hardware_virtualization() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|info| {
        info.lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| {
                line.split_whitespace()
                    .any(|flag| flag == "vmx" || flag == "svm")
            })
    })
}

/// The accelerator to use, and the reason.
pub fn choose(choice: AccelChoice) -> Result<(Accel, String)> {
    let (opens, hardware) = (can_open_kvm(), has_hardware_virtualization());
    Ok(match choice {
        AccelChoice::Tcg => (Accel::Tcg, "requested".to_owned()),
        AccelChoice::Kvm if opens => (Accel::Kvm, "requested".to_owned()),
        AccelChoice::Kvm => {
            bail!("/dev/kvm cannot be opened: use --accel tcg, or join the group kvm")
        }
        AccelChoice::Auto if opens && hardware => (
            Accel::Kvm,
            "/dev/kvm opens and the processor has vmx or svm".to_owned(),
        ),
        AccelChoice::Auto if opens => (
            Accel::Tcg,
            "/dev/kvm opens, but the processor has neither vmx nor svm: a software KVM runs \
             kernels slower than TCG"
                .to_owned(),
        ),
        AccelChoice::Auto => (Accel::Tcg, "/dev/kvm cannot be opened".to_owned()),
    })
}
