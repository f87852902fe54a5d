//! QEMU's command line for a Linux guest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::image::LinuxImage;
use crate::accel::Accel;
use crate::qemu::{Machine, Qemu, socket_option};

/// Name of the port of the agent.
const AGENT_PORT: &str = "org.vssd.0";

/// Name of the port on which the guest takes scripts.
const TEST_PORT: &str = "org.vssd.test";

/// Processors of a Linux guest. With one, QEMU before 8.1 drops guest memory barriers under TCG.
pub const CPUS: u32 = 2;

/// Errors go to the console, what else the kernel says does not. A kernel that panics resets the
/// guest, which the channel notices. On a busy machine, an emulated processor can be so late that
/// the kernel's test of its timer fails, and then it does not boot.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=1 no_timer_check";

/// A virtio-blk disk.
#[derive(Clone, Debug)]
pub enum LinuxDisk {
    /// A device in another process.
    VhostUser {
        socket: PathBuf,
        /// Request queues.
        queues: u16,
    },
    /// A raw file in QEMU's own virtio-blk, with direct I/O.
    File { path: PathBuf, queues: u16 },
}

/// Configuration of a Linux guest.
#[derive(Clone, Debug)]
pub struct LinuxLaunch {
    pub machine: Machine,
    pub accel: Accel,
    pub memory_mib: u32,
    /// In order: `/dev/vda`, `/dev/vdb` and so on.
    pub disks: Vec<LinuxDisk>,
    /// The socket of the vSSD's agent.
    pub agent: Option<PathBuf>,
}

/// Where a guest's console and channel go.
pub(super) struct Files<'a> {
    /// The listening socket of the channel.
    pub(super) channel: &'a Path,
    /// The console is appended to it.
    pub(super) console: &'a Path,
}

impl LinuxLaunch {
    pub(super) fn command(&self, qemu: &Qemu, image: &LinuxImage, files: &Files<'_>) -> Command {
        let mut command = qemu.computer(self.machine, self.accel, CPUS, self.memory_mib);
        let mut arg = |name: &str, value: OsString| {
            command.arg(name).arg(value);
        };
        let reconnect = qemu.reconnect();
        arg("-chardev", file_option("console", files.console));
        arg("-serial", "chardev:console".into());
        for (number, disk) in self.disks.iter().enumerate() {
            let id = format!("disk{number}");
            match disk {
                LinuxDisk::VhostUser { socket, queues } => {
                    arg("-chardev", socket_option(&id, socket, reconnect));
                    let device = format!("vhost-user-blk-pci,chardev={id},num-queues={queues}");
                    arg("-device", device.into());
                }
                LinuxDisk::File { path, queues } => {
                    let mut drive = OsString::from(format!(
                        "if=none,id={id},format=raw,cache=none,aio=io_uring,file.filename="
                    ));
                    drive.push(path);
                    arg("-drive", drive);
                    let device = format!("virtio-blk-pci,drive={id},num-queues={queues}");
                    arg("-device", device.into());
                }
            }
        }
        arg("-device", "virtio-serial-pci".into());
        let mut port = |id: &str, socket: &Path, more: &str, name: &str| {
            arg("-chardev", socket_option(id, socket, more));
            let device = format!("virtserialport,chardev={id},name={name}");
            arg("-device", device.into());
        };
        port("test", files.channel, "server=off", TEST_PORT);
        if let Some(agent) = &self.agent {
            port("agent", agent, reconnect, AGENT_PORT);
        }
        arg("-kernel", image.kernel.clone().into());
        arg("-initrd", image.initramfs.clone().into());
        arg("-append", COMMAND_LINE.into());
        command
    }
}

fn file_option(id: &str, path: &Path) -> OsString {
    let mut option = OsString::from(format!("file,id={id},append=on,path="));
    option.push(path);
    option
}
