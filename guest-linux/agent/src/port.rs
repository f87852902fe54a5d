//! The port: a virtio serial port of the guest, or a UNIX socket where a test or another
//! hypervisor offers one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{During, Error, Result};

/// Where udev links the ports by name.
const NAMED_PORTS: &str = "/dev/virtio-ports";

/// What a read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, not 0.
    Bytes(usize),
    /// None for now.
    Nothing,
    /// The other side has closed the port.
    HungUp,
}

/// An open port.
#[derive(Debug)]
pub struct Port {
    fd: OwnedFd,
    is_socket: bool,
}

impl Port {
    /// Opens the port at `path`.
    ///
    /// # Errors
    /// When there is none, or another program has it.
    pub fn open(path: &Path) -> Result<Self> {
        let path = &find(path)?;
        let kind = fs::metadata(path).during(|| format!("open the port {}", path.display()))?;
        if kind.file_type().is_socket() {
            let connect = || -> io::Result<OwnedFd> {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            };
            let fd = connect().during(|| format!("connect to {}", path.display()))?;
            return Ok(Self {
                fd,
                is_socket: true,
            });
        }
        if !kind.file_type().is_char_device() {
            return Err(Error::refused(format_args!(
                "{} is neither a serial port nor a socket",
                path.display()
            )));
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self {
                fd,
                is_socket: false,
            }),
            // A kernel opens a port once.
            Err(Errno::BUSY) => Err(Error::refused(format_args!(
                "another program has the port {} open; run one agent for each vSSD",
                path.display()
            ))),
            Err(errno) => Err(errno).during(|| format!("open the port {}", path.display())),
        }
    }

    /// Whether the port has to be opened anew after it was hung up; a serial port stays.
    pub fn is_socket(&self) -> bool {
        self.is_socket
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn read(&self, bytes: &mut [u8]) -> Result<Moved> {
        moved(rustix::io::read(&self.fd, bytes), "read from")
    }

    /// Writes as much as fits.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn write(&self, bytes: &[u8]) -> Result<Moved> {
        moved(rustix::io::write(&self.fd, bytes), "write to")
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn moved(result: rustix::io::Result<usize>, what: &str) -> Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::HungUp),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Nothing),
        Err(Errno::PIPE | Errno::CONNRESET) => Ok(Moved::HungUp),
        Err(errno) => Err(errno).during(|| format!("{what} the port")),
    }
}

/// The node of the port. A guest without udev has no links by name, but the kernel tells it.
fn find(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_owned());
    }
    let node = path
        .strip_prefix(NAMED_PORTS)
        .ok()
        .and_then(|name| named(Path::new("/sys/class/virtio-ports"), name.to_str()?));
    node.ok_or_else(|| {
        Error::refused(format_args!(
            "there is no port {}: give the virtual machine one (QEMU: -device virtio-serial-pci \
             -device virtserialport,chardev=…,name=org.vssd.0)",
            path.display()
        ))
    })
}

/// The node of the port that the kernel calls `name`.
fn named(class: &Path, name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir(class)
        .ok()?
        .filter_map(std::result::Result::ok);
    let mut found = ports.filter(|port| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|known| known.trim_end() == name)
    });
    Some(Path::new("/dev").join(found.next()?.file_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_the_name_that_the_kernel_gives_it() {
        let class = tempfile::tempdir().unwrap();
        for (node, name) in [("vport0p1", "org.other.0\n"), ("vport0p2", "org.vssd.0\n")] {
            fs::create_dir(class.path().join(node)).unwrap();
            fs::write(class.path().join(node).join("name"), name).unwrap();
        }
        let found = named(class.path(), "org.vssd.0");
        assert_eq!(found, Some(PathBuf::from("/dev/vport0p2")));
        assert_eq!(named(class.path(), "org.vssd"), None);
        assert_eq!(named(&class.path().join("none"), "org.vssd.0"), None);
    }

    #[test]
    fn what_is_no_port_is_refused_with_its_path() {
        for (path, words) in [
            ("/dev/virtio-ports/org.none.0", "virtserialport"),
            ("/etc/passwd", "neither a serial port nor a socket"),
            ("/no/such/port", "there is no port /no/such/port"),
        ] {
            let said = Port::open(Path::new(path)).unwrap_err();
            assert_eq!(said.exit_code(), 3);
            assert!(said.to_string().contains(words), "{said}");
        }
    }
}
