//! Loop devices: what is behind one, and which others lead to the same bytes.
//!
//! The kernel also shows the path of the file behind a loop device, in `/sys`. That path is useless
//! once the file is deleted, replaced, or mounted elsewhere, so files are compared by device and
//! inode (`LO_GET_STATUS64`).

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::ioctl::{Getter, Opcode, ioctl};

use super::id::Id;

/// `LO_GET_STATUS64` of `<linux/loop.h>`.
const GET_STATUS: Opcode = 0x4c05;

/// `struct loop_info64` of the same, as far as it matters here.
#[repr(C)]
struct Status {
    device: u64,
    inode: u64,
    device_of_node: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    rest: [u32; 47],
}

const _: () = assert!(size_of::<Status>() == 232);

/// A loop device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    number: u32,
    /// What is behind it.
    pub(super) behind: Id,
    /// The range of it that the loop device shows.
    part: Range<u64>,
}

impl Loop {
    /// The loop device that is open as `file`, itself or by one of its partitions; `None` when it
    /// is none, or has no file.
    pub(super) fn of(file: &File) -> Option<Self> {
        // SAFETY: the driver of loop devices writes a `struct loop_info64`, of which `Status` has
        // size and layout, and any bytes are a `Status`. Others refuse the request: its type, `L`,
        // belongs to that driver.
        let status = unsafe { ioctl(file, Getter::<GET_STATUS, Status>::new()) }.ok()?;
        Some(Self::new(&status))
    }

    fn new(status: &Status) -> Self {
        // The number of the device behind it. Of a file it is 0, or in older kernels that of its
        // file system.
        let is_file = [0, status.device].contains(&status.device_of_node);
        let behind = if is_file {
            Id::File {
                file_system: status.device,
                inode: status.inode,
            }
        } else {
            Id::Device(status.device_of_node)
        };
        let end = match status.size_limit {
            0 => u64::MAX,
            limit => status.offset.saturating_add(limit),
        };
        Self {
            number: status.number,
            behind,
            part: status.offset..end,
        }
    }

    /// Whether this is another device that leads to some of the same bytes.
    fn shares(&self, other: &Self) -> bool {
        let overlaps = self.part.start < other.part.end && other.part.start < self.part.end;
        self.number != other.number && self.behind == other.behind && overlaps
    }

    /// Nodes of all other loop devices that lead to some of the same bytes.
    pub(super) fn others(&self) -> impl Iterator<Item = PathBuf> {
        all()
            .filter(|(_, other)| self.shares(other))
            .map(|(node, _)| node)
    }
}

/// All loop devices in use whose nodes this process may open, with these.
pub(super) fn all() -> impl Iterator<Item = (PathBuf, Loop)> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices.filter_map(|device| {
        let in_use = device.path().join("loop").exists();
        let node = Path::new("/dev").join(device.file_name());
        let file = in_use.then(|| File::open(&node).ok())??;
        Some((node, Loop::of(&file)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(number: u32, inode: u64, offset: u64, size_limit: u64) -> Status {
        Status {
            device: 7,
            inode,
            device_of_node: 0,
            offset,
            size_limit,
            number,
            rest: [0; 47],
        }
    }

    #[test]
    fn devices_share_bytes_of_one_file_where_their_parts_overlap() {
        let one = Loop::new(&status(0, 5, 4096, 8192));
        for (other, shares) in [
            (status(0, 5, 4096, 8192), false),
            (status(1, 5, 4096, 8192), true),
            (status(1, 6, 4096, 8192), false),
            (status(1, 5, 0, 0), true),
            (status(1, 5, 0, 4096), false),
            (status(1, 5, 0, 4097), true),
            (status(1, 5, 12287, 1), true),
            (status(1, 5, 12288, 0), false),
        ] {
            let other = Loop::new(&other);
            assert_eq!(one.shares(&other), shares, "{other:?}");
            assert_eq!(other.shares(&one), shares, "{other:?}");
        }
    }

    #[test]
    fn a_device_behind_has_its_number_and_a_file_its_inode() {
        let file = Id::File {
            file_system: 7,
            inode: 5,
        };
        for (device_of_node, behind) in [(0, file), (7, file), (0x801, Id::Device(0x801))] {
            let status = Status {
                device_of_node,
                ..status(0, 5, 0, 0)
            };
            assert_eq!(Loop::new(&status).behind, behind);
        }
        assert_eq!(Loop::of(&tempfile::tempfile().unwrap()), None);
    }
}
