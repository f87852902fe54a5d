//! What uses a file or block device, as far as `/proc` and `/sys` show it. This is for messages,
//! and for uses of files that no lock shows; the kernel itself reports a device that is in use.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::id::Id;
use super::loops;

/// What uses a file although no lock shows it: swap space, or a loop device.
pub(super) fn of_file(id: Id) -> Option<String> {
    if is_swap(id) {
        return Some("it is swap space (see swapoff(8))".to_owned());
    }
    let mut devices = fs::read_dir("/sys/block").ok()?.flatten();
    let by_path = devices.find_map(|device| {
        let file = file_of_loop(&device.path())?;
        let node = Path::new("/dev").join(device.file_name());
        id.is_at(&file).then_some(node)
    });
    // By inode as well, of those that this process may open: the path may be gone.
    let by_inode = || {
        let mut all = loops::all();
        all.find_map(|(node, device)| (device.behind == id).then_some(node))
    };
    let node = by_path.or_else(by_inode)?;
    Some(format!(
        "{} is backed by it (see losetup(8))",
        node.display()
    ))
}

/// The file behind a loop device.
pub(super) fn file_behind(id: Id) -> Option<PathBuf> {
    file_of_loop(&folder(id)?)
}

fn file_of_loop(device: &Path) -> Option<PathBuf> {
    let name = fs::read(device.join("loop/backing_file")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    Some(PathBuf::from(std::ffi::OsString::from_vec(name.to_vec())))
}

/// What uses a device until it is detached: a mount, swap, or a device on top of it,
/// of itself, its partitions, or the disk that it is a partition of.
pub(super) fn of_device(id: Id) -> Option<String> {
    let own = folder(id)?;
    if let Some(use_) = use_of(&own) {
        return Some(format!("it {use_}"));
    }
    let named = |folder: &Path| folder.file_name()?.to_str().map(str::to_owned);
    let partitions = fs::read_dir(&own).ok()?.flatten();
    let mut partitions = partitions
        .map(|entry| entry.path())
        .filter(|path| path.join("partition").exists());
    if let Some((name, use_)) = partitions.find_map(|path| Some((named(&path)?, use_of(&path)?))) {
        return Some(format!("its partition {name} {use_}"));
    }
    if own.join("partition").exists() {
        let disk = own.parent()?;
        return Some(format!("its disk {} {}", named(disk)?, use_of(disk)?));
    }
    None
}

/// The folder of a device in `/sys`.
fn folder(id: Id) -> Option<PathBuf> {
    let Id::Device(number) = id else { return None };
    let (major, minor) = (major(number), minor(number));
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
}

/// What uses the device with that folder, after "it".
fn use_of(folder: &Path) -> Option<String> {
    let number = fs::read_to_string(folder.join("dev")).ok()?;
    let (major, minor) = number.trim().split_once(':')?;
    let number = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    let id = Id::Device(number);
    if let Some(place) = mount_of(id) {
        return Some(format!("is mounted at {place}"));
    }
    if is_swap(id) {
        return Some("is swap space (see swapoff(8))".to_owned());
    }
    let holders = fs::read_dir(folder.join("holders")).ok()?.flatten();
    let holders: Vec<_> = holders
        .filter_map(|holder| {
            let name = holder.file_name().into_string().ok()?;
            // Its name in LVM or cryptsetup.
            let known_as = fs::read_to_string(holder.path().join("dm/name")).ok();
            Some(match known_as {
                Some(known_as) => format!("{name} ({})", known_as.trim()),
                None => name,
            })
        })
        .collect();
    (!holders.is_empty()).then(|| format!("belongs to {}", holders.join(", ")))
}

/// Where a device is mounted.
fn mount_of(id: Id) -> Option<String> {
    let Id::Device(number) = id else { return None };
    let number = format!("{}:{}", major(number), minor(number));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (device, place) = (fields.next()?, fields.nth(1)?);
        // btrfs shows device numbers of its own there.
        let source = source.split(' ').nth(1)?;
        let is_it = device == number || id.is_at(Path::new(&unescape(source)));
        is_it.then(|| unescape(place))
    })
}

fn is_swap(id: Id) -> bool {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut files = swaps.lines().skip(1);
    files.any(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        id.is_at(Path::new(&unescape(name)))
    })
}

/// Decodes the escapes of `/proc`, such as `\040` for a space.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..3);
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte.into());
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Names a process.
pub(super) fn process(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("process {pid}, {}", name.trim()))
}

/// The process that has a file locked by flock(2).
pub(super) fn process_with_lock(id: Id) -> Option<String> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // "1: FLOCK ADVISORY WRITE 4711 fe:00:131 0 EOF"; "->" is one that waits.
        let ["FLOCK", _, _, pid, file, ..] = fields.get(1..)? else {
            return None;
        };
        let mut numbers = file.split(':');
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let (major, minor) = (hex(numbers.next()?)?, hex(numbers.next()?)?);
        let inode: u64 = numbers.next()?.parse().ok()?;
        let found = Id::File {
            file_system: rustix::fs::makedev(major, minor),
            inode,
        };
        (found == id).then(|| process(pid.parse().ok()?)).flatten()
    })
}

/// A process that has a device open.
pub(super) fn process_with_device(id: Id) -> Option<String> {
    process_with(id).map(|process| format!("{process} has it open"))
}

/// A process that has the same file open as this one has as `descriptor`.
pub(super) fn process_with_file(descriptor: i32) -> Option<String> {
    let metadata = fs::metadata(format!("/proc/self/fd/{descriptor}")).ok()?;
    process_with(Id::of(&metadata))
}

fn process_with(id: Id) -> Option<String> {
    let own = std::process::id() as i32;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find_map(|pid| {
        let mut files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let has_it = pid != own && files.any(|file| id.is_at(&file.path()));
        has_it.then(|| process(pid)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_escapes_is_read() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(unescape(r"plain\"), r"plain\");
        assert_eq!(unescape(r"\9x\1"), r"\9x\1");
    }

    /// The device of the root file system, if it has one, is found as mounted.
    #[test]
    fn mounts_are_found_by_device() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let sources = mounts.lines().filter_map(|line| {
            let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
            let metadata = fs::metadata(unescape(source)).ok()?;
            Some(Id::of(&metadata)).filter(|id| matches!(id, Id::Device(_)))
        });
        for id in sources {
            assert!(mount_of(id).is_some(), "{id:?}");
            assert!(of_device(id).is_some(), "{id:?}");
        }
        assert_eq!(mount_of(Id::Device(rustix::fs::makedev(4095, 77))), None);
    }

    #[test]
    fn a_locked_file_has_its_process() {
        let file = tempfile::tempfile().unwrap();
        let id = Id::of(&file.metadata().unwrap());
        assert_eq!(process_with_lock(id), None);
        assert_eq!(process_with(id), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let own = format!("process {}", std::process::id());
        // Some containers show no locks.
        if let Some(process) = process_with_lock(id) {
            assert!(process.starts_with(&own), "{process}");
        }
    }
}
