//! Stock QEMU: finds it, checks its version, builds the command line of a guest.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::accel::{Accel, has_hardware_virtualization};

/// Path of the guest image built with this harness.
pub const GUEST_IMAGE: &str = env!("VSSD_GUEST_IMAGE");

/// Path of the guest image, or of a new copy at `copy`.
///
/// # Errors
/// When it cannot be copied.
pub fn guest_image(copy: Option<&Path>) -> Result<&Path> {
    let Some(path) = copy else {
        return Ok(Path::new(GUEST_IMAGE));
    };
    fs::copy(GUEST_IMAGE, path)
        .with_context(|| format!("copy the guest image to {}", path.display()))?;
    Ok(path)
}

/// Program name, searched in PATH.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// Oldest supported version of QEMU.
pub const OLDEST: (u32, u32) = (7, 2);

/// QEMU's exit status when the guest exits with success: `isa-debug-exit` turns the value v
/// that the guest writes into status 2 v + 1.
pub const EXIT_SUCCESS: i32 = 33;

/// QEMU's machine types that the guest boots on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Machine {
    /// A PC with PCI Express.
    #[default]
    Q35,
    /// QEMU's minimal machine, with PCI Express.
    Microvm,
}

/// An installed QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    pub program: PathBuf,
    /// First line of `--version`.
    pub version: String,
    number: (u32, u32),
}

/// A guest's disks, in bus order. The guest identifies them by that order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drives<'a> {
    /// vhost-user socket of the vSSD.
    pub vssd: Option<&'a Path>,
    /// vhost-user socket of the origin disk.
    pub origin: Option<&'a Path>,
    /// Image file of the trace disk.
    pub trace: Option<&'a Path>,
}

/// Configuration of a guest.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    pub machine: Machine,
    pub accel: Accel,
    pub memory_mib: u32,
    pub drives: Drives<'a>,
    /// The guest's kernel command line: commands to run at boot.
    pub append: &'a str,
}

/// Major and minor version from a line such as `QEMU emulator version 7.2.22 (…)`.
fn parse_version(line: &str) -> Option<(u32, u32)> {
    let number = line.split("version ").nth(1)?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Qemu {
    /// Finds QEMU at `program`, or else in PATH.
    pub fn find(program: Option<&Path>) -> Result<Self> {
        let program = program.unwrap_or(Path::new(PROGRAM));
        let output = Command::new(program).arg("--version").output();
        let output = match output {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "{} is not installed: run ./setup, or set --qemu",
                program.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("run {}", program.display()));
            }
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().to_owned();
        let number = parse_version(&version)
            .with_context(|| format!("{} --version prints no version", program.display()))?;
        ensure!(
            number >= OLDEST,
            "{} is {version}; {}.{} or newer is needed: run ./setup, or set --qemu",
            program.display(),
            OLDEST.0,
            OLDEST.1
        );
        Ok(Self {
            program: program.to_owned(),
            version,
            number,
        })
    }

    /// Whether this QEMU was built with the device.
    pub fn has_device(&self, device: &str) -> Result<bool> {
        let output = Command::new(&self.program)
            .args(["-device", "help"])
            .output()
            .with_context(|| format!("list the devices of {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.contains(&format!("\"{device}\"")))
    }

    /// The command that starts a guest. Its channel connects to the listening socket `channel`;
    /// its serial console goes to the file `serial`.
    pub fn command(&self, launch: &Launch<'_>, channel: &Path, serial: &Path) -> Command {
        let cpus = match launch.accel {
            // The second processor stays parked: QEMU before 8.1 drops guest memory barriers with
            // one processor, and the backend is another process.
            Accel::Tcg => 2,
            Accel::Kvm => 1,
        };
        let mut command = self.computer(launch.machine, launch.accel, cpus, launch.memory_mib);
        let mut arg = |name: &str, value: OsString| {
            command.arg(name).arg(value);
        };
        let mut console = OsString::from("file:");
        console.push(serial);
        arg("-serial", console);
        arg("-device", "isa-debug-exit,iobase=0xf4,iosize=0x04".into());
        self.attach(launch.drives, &mut arg);
        arg("-chardev", socket_option("channel", channel, "server=off"));
        arg("-device", "virtio-serial-pci,max_ports=2".into());
        // Not a virtconsole: when the socket is full, QEMU drops the output of a virtconsole,
        // but makes a virtserialport wait.
        arg("-device", "virtserialport,chardev=channel".into());
        arg("-kernel", GUEST_IMAGE.into());
        arg("-append", launch.append.into());
        command.arg("-no-reboot");
        command
    }

    /// The command that starts a computer without devices, whose memory vhost-user backends share.
    pub(crate) fn computer(
        &self,
        machine: Machine,
        accel: Accel,
        cpus: u32,
        memory_mib: u32,
    ) -> Command {
        let software_kvm = accel == Accel::Kvm && !has_hardware_virtualization();
        let mut command = Command::new(&self.program);
        let mut arg = |name: &str, value: String| {
            command.arg(name).arg(value);
        };
        let options = match machine {
            Machine::Q35 => "q35",
            Machine::Microvm => "microvm,pcie=on",
        };
        arg(
            "-machine",
            format!("{options},accel={accel},memory-backend=mem"),
        );
        let cpu = match accel {
            Accel::Tcg => "max",
            // On AMD processors, a software KVM may advertise the MSR of this feature and then
            // refuse it, at which QEMU aborts.
            Accel::Kvm if software_kvm => "host,arch-capabilities=off",
            Accel::Kvm => "host",
        };
        arg("-cpu", cpu.to_owned());
        arg("-smp", cpus.to_string());
        arg("-m", format!("{memory_mib}M"));
        // A software KVM faults on every first touch of a page.
        let prealloc = if software_kvm { ",prealloc=on" } else { "" };
        arg(
            "-object",
            format!("memory-backend-memfd,id=mem,size={memory_mib}M,share=on{prealloc}"),
        );
        if software_kvm && machine == Machine::Q35 {
            // A software KVM interprets ring 0: SeaBIOS alone would take seconds.
            arg("-bios", "qboot.rom".to_owned());
        }
        arg("-display", "none".to_owned());
        command.args(["-nodefaults", "-no-user-config"]);
        command
    }

    /// The option of a socket that reconnects after the other side died.
    pub(crate) fn reconnect(&self) -> &'static str {
        if self.number >= (9, 2) {
            "reconnect-ms=1000"
        } else {
            "reconnect=1"
        }
    }

    /// Adds the disks, in bus order.
    fn attach(&self, drives: Drives<'_>, arg: &mut impl FnMut(&str, OsString)) {
        let reconnect = self.reconnect();
        for (id, socket) in [("vssd", drives.vssd), ("origin", drives.origin)] {
            let Some(socket) = socket else {
                continue;
            };
            arg("-chardev", socket_option(id, socket, reconnect));
            let device = format!("vhost-user-blk-pci,chardev={id},num-queues=3");
            arg("-device", device.into());
        }
        if let Some(file) = drives.trace {
            // The file is read-only, so several guests may share it without locks.
            let mut drive = OsString::from(
                "if=none,id=trace,format=raw,readonly=on,file.locking=off,file.filename=",
            );
            drive.push(file);
            arg("-drive", drive);
            arg("-device", "virtio-blk-pci,drive=trace,num-queues=1".into());
        }
    }
}

pub(crate) fn socket_option(id: &str, path: &Path, more: &str) -> OsString {
    let mut option = OsString::from(format!("socket,id={id},{more},path="));
    option.push(path);
    option
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed() {
        let line = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)";
        assert_eq!(parse_version(line), Some((7, 2)));
        assert_eq!(parse_version("QEMU emulator version 10.0.2"), Some((10, 0)));
        assert_eq!(parse_version("no number"), None);
    }
}
