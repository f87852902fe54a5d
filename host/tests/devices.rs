//! Pools on block devices: which of them can be used, and that others stay unchanged.
//!
//! These need root and loop devices, so they run by name only (see CONTRIBUTING.md): `cargo test
//! -p vssd-host --test devices`. They fail where they cannot run.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::daemon::{Site, finish, pool};
use support::frontend::{Frontend, OK};
use vssd_host::pool::Shape;
use vssd_host::size::ByteSize;

const LEN: u64 = 256 << 20;

/// Runs a program that must succeed; returns what it said.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, which this test needs: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {args:?} failed (these tests need root and loop devices): {errors}"
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(all).unwrap()
}

/// A loop device on a file of its own, until it is dropped.
struct Disk {
    node: PathBuf,
    file: PathBuf,
}

impl Disk {
    fn new(site: &Site, sector: u32) -> Self {
        let file = site.path("behind.img");
        File::create(&file).unwrap().set_len(LEN).unwrap();
        Self::on(&file, sector)
    }

    fn on(file: &Path, sector: u32) -> Self {
        let sector = sector.to_string();
        let file_name = file.to_str().unwrap();
        let node = run(
            "losetup",
            &["--find", "--show", "--sector-size", &sector, file_name],
        );
        Self {
            node: PathBuf::from(node),
            file: file.to_owned(),
        }
    }

    fn path(&self) -> &str {
        self.node.to_str().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that fails reports that, not this.
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.node)
            .status();
    }
}

/// Something that a program undoes when this is dropped.
struct Undo(&'static str, String);

impl Drop for Undo {
    fn drop(&mut self) {
        let _ = Command::new(self.0).arg(&self.1).status();
    }
}

/// The daemon's command line on this backing instead of the folder's file.
fn on(site: &Site, backing: &Path, name: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssd-host"));
    command.arg("--backing").arg(backing);
    command
        .arg("--control")
        .arg(site.path(&format!("{name}-control.sock")));
    command.arg("--vssd").arg(site.spec(name, "size=8MiB"));
    command.args(more);
    command
}

/// Another node of the same device.
fn second_node(site: &Site, disk: &Disk) -> PathBuf {
    let number = fs::metadata(&disk.node).unwrap().rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let node = site.path("node");
    let numbers = [major.to_string(), minor.to_string()];
    run(
        "mknod",
        &[node.to_str().unwrap(), "b", &numbers[0], &numbers[1]],
    );
    assert!(fs::metadata(&node).unwrap().file_type().is_block_device());
    node
}

/// The errors of all commands on a path that is in use.
fn refusals(site: &Site, path: &Path) -> Vec<String> {
    let name = path.to_str().unwrap();
    vec![
        said(&finish(on(site, path, "vm9", &["--create"]))),
        said(&pool(&["create", name, "--size", "8MiB"])),
        said(&pool(&["create", name, "--size", "8MiB", "--force"])),
        said(&pool(&["rm", name, "--force"])),
    ]
}

/// Two nodes of a disk are one disk: the second backend is refused, or one VM would read
/// what another wrote.
#[test]
fn two_nodes_of_a_disk_are_one_disk() {
    let site = Site::new();
    let disk = Disk::new(&site, 512);
    let other = second_node(&site, &disk);
    let daemon = site.launch(on(
        &site,
        &disk.node,
        "vm1",
        &["--create", "--size", "64MiB"],
    ));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    let refused = said(&finish(on(&site, &other, "vm2", &["--create"])));
    assert!(refused.contains("is in use"), "{refused}");
    assert!(
        refused.contains("vssd-host"),
        "it names no process: {refused}"
    );
    // The file behind it, and a second device on that, lead to the same bytes.
    let second = Disk::on(&disk.file, 512);
    let forced = [&other, &second.node, &disk.file].map(|path| {
        let path = path.to_str().unwrap();
        said(&pool(&["create", path, "--size", "8MiB", "--force"]))
    });
    for refused in forced {
        assert!(refused.contains("is in use"), "{refused}");
    }
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
    assert_eq!(guest.flush(), OK);
    // Killed, it releases the device at once.
    daemon.kill();
    let _daemon = site.launch(on(&site, &other, "vm1", &[]));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
}

/// The same where no lock on a file behind it helps, as of any disk that is no loop device: the
/// device itself is claimed.
#[test]
fn two_nodes_of_a_disk_without_a_file_are_one_disk() {
    let site = Site::new();
    let disk = Disk::new(&site, 512);
    let other = second_node(&site, &disk);
    fs::remove_file(&disk.file).unwrap();
    let create = ["--create", "--size", "64MiB"];
    let _daemon = site.launch(on(&site, &disk.node, "vm1", &create));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    for refused in refusals(&site, &other) {
        assert!(refused.contains("is in use"), "{refused}");
    }
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
}

/// A file that has no path any more cannot be locked by that. Its loop devices lead to the same
/// bytes all the same, and so does another name of the file.
#[test]
fn two_devices_on_a_deleted_file_are_one_disk() {
    let site = Site::new();
    let disk = Disk::new(&site, 512);
    let second = Disk::on(&disk.file, 512);
    let other_name = site.path("other.img");
    fs::hard_link(&disk.file, &other_name).unwrap();
    fs::remove_file(&disk.file).unwrap();
    let create = ["--create", "--size", "64MiB"];
    let daemon = site.launch(on(&site, &disk.node, "vm1", &create));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    // What the backend has claimed with its own, and a device that came later.
    for path in [second.path(), other_name.to_str().unwrap()] {
        let checked = said(&pool(&["check", path]));
        assert!(checked.contains("is in use"), "{checked}");
    }
    let third = Disk::on(&other_name, 512);
    let refused = said(&pool(&["check", third.path()]));
    assert!(refused.contains("leads to the same bytes"), "{refused}");
    assert!(
        refused.contains("vssd-host"),
        "it names no process: {refused}"
    );
    drop(third);
    for path in [&second.node, &other_name] {
        for refused in refusals(&site, path) {
            assert!(refused.contains("is in use"), "{refused}");
        }
    }
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
    assert_eq!(guest.flush(), OK);
    drop(guest);
    // Killed, it releases the device at once, also through the other node.
    daemon.kill();
    let _daemon = site.launch(on(&site, &second.node, "vm1", &[]));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
}

/// All that a pool writes to by itself is read before one is made, however large that is.
#[test]
fn a_byte_where_the_journal_would_be_is_found() {
    let site = Site::new();
    let shape = Shape {
        block_size: 4096,
        physical_blocks: 16 << 18,
        overcommit_permille: 1000,
    };
    let file = site.path("behind.img");
    let len = shape.backing_len();
    File::create(&file).unwrap().set_len(len).unwrap();
    let disk = Disk::on(&file, 512);
    let device = File::options().write(true).open(&disk.node).unwrap();
    let at = shape.room().reserved - 512;
    assert!(at > 64 << 20);
    device.write_all_at(&[1], at).unwrap();
    device.sync_all().unwrap();
    let found = format!("data at {}", ByteSize(at));
    let is_refused = |refused: String| {
        assert!(
            refused.contains(&found) && refused.contains("nothing was changed"),
            "{refused}"
        );
    };
    let size = ["--size", "16GiB"];
    is_refused(said(&pool(&[&["create", disk.path()], &size[..]].concat())));
    let daemon = [&["--create"], &size[..]].concat();
    is_refused(said(&finish(on(&site, &disk.node, "vm1", &daemon))));
    device.write_all_at(&[0], at).unwrap();
    device.sync_all().unwrap();
    let made = pool(&["create", disk.path(), "--size", "16GiB"]);
    assert!(made.status.success(), "{}", said(&made));
}

/// A device in use is not taken, whatever the command, and the error names its user.
#[test]
fn what_is_in_use_is_refused_even_by_force() {
    let site = Site::new();
    let disk = Disk::new(&site, 512);
    run("mkfs.ext4", &["-q", disk.path()]);
    let place = site.path("a mount");
    fs::create_dir(&place).unwrap();
    run("mount", &[disk.path(), place.to_str().unwrap()]);
    let mounted = Undo("umount", place.to_str().unwrap().to_owned());
    fs::write(place.join("letter"), "precious").unwrap();
    for refused in refusals(&site, &disk.node) {
        let expected = format!("it is mounted at {}", place.display());
        assert!(refused.contains(&expected), "{refused}");
    }
    for refused in refusals(&site, &disk.file) {
        assert!(
            refused.contains(&format!("{} is backed by it", disk.path())),
            "{refused}"
        );
    }
    assert_eq!(
        fs::read_to_string(place.join("letter")).unwrap(),
        "precious"
    );
    drop(mounted);

    run("mkswap", &["--force", disk.path()]);
    run("swapon", &[disk.path()]);
    let swap = Undo("swapoff", disk.path().to_owned());
    for refused in refusals(&site, &disk.node) {
        assert!(refused.contains("it is swap space"), "{refused}");
    }
    drop(swap);
    let refused = said(&pool(&["create", disk.path(), "--size", "8MiB"]));
    assert!(refused.contains("swap space at"), "{refused}");
    let made = said(&pool(&["create", disk.path(), "--size", "8MiB", "--force"]));
    assert!(
        made.contains("over what was there: swap space at"),
        "{made}"
    );
}

/// The contents of a disk are recognized as in a file, and other programs do not recognize them
/// after a pool was created over them.
#[test]
fn nothing_is_made_over_what_is_on_a_disk() {
    for (bytes, at, name) in [
        (&b"_BHRfS_M"[..], 0x10040, "btrfs file system at 64KiB"),
        (b"EFI PART", LEN - 512, "GPT partition table at"),
        (b"\xfc\x4e\x2b\xa9", LEN - 8192, "md RAID member at"),
        (b"unknown", 40 << 20, "data at 40MiB"),
    ] {
        let site = Site::new();
        let disk = Disk::new(&site, 512);
        let device = File::options()
            .read(true)
            .write(true)
            .open(&disk.node)
            .unwrap();
        device.write_all_at(bytes, at).unwrap();
        device.sync_all().unwrap();
        for refused in [
            said(&finish(on(&site, &disk.node, "vm1", &["--create"]))),
            said(&pool(&["create", disk.path(), "--size", "8MiB"])),
            said(&pool(&["rm", disk.path(), "--force"])),
        ] {
            assert!(
                refused.contains(name) && refused.contains("nothing was"),
                "{refused}"
            );
        }
        let mut there = vec![0; bytes.len()];
        device.read_exact_at(&mut there, at).unwrap();
        assert_eq!(there, bytes);
        let made = said(&pool(&["create", disk.path(), "--size", "8MiB", "--force"]));
        assert!(made.contains(name), "{made}");
        device.read_exact_at(&mut there, at).unwrap();
        assert_ne!(there, bytes, "{name} is still there");
        site.launch(on(&site, &disk.node, "vm1", &["--create"]))
            .kill();
        // Removed, it is no pool; what its blocks held is still something.
        let removed = said(&pool(&["rm", disk.path(), "--force"]));
        assert!(removed.contains("removed"), "{removed}");
        let refused = said(&pool(&["check", disk.path()]));
        assert!(refused.contains("no pool"), "{refused}");
    }
}

/// A block is no smaller than a sector, at creation and at start.
#[test]
fn blocks_are_no_smaller_than_sectors() {
    let site = Site::new();
    let disk = Disk::new(&site, 4096);
    let spec = site.spec("vm1", "size=1MiB,block-size=512B");
    let command = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vssd-host"));
        command.arg("--backing").arg(&disk.node);
        command.arg("--control").arg(site.path("control.sock"));
        command.arg("--vssd").arg(&spec).args(more);
        command
    };
    let create = [
        "create",
        disk.path(),
        "--size",
        "1MiB",
        "--block-size",
        "512B",
    ];
    let at_creation = [said(&pool(&create)), said(&finish(command(&["--create"])))];
    let buffered = pool(&[&create[..], &["--buffered"]].concat());
    assert!(buffered.status.success(), "{}", said(&buffered));
    let at_start = said(&finish(command(&[])));
    for refused in at_creation.into_iter().chain([at_start]) {
        for word in ["512B", "4KiB", "block-size=4KiB", "--buffered"] {
            assert!(refused.contains(word), "{word}: {refused}");
        }
    }
    let _daemon = site.launch(command(&["--create", "--buffered"]));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(1, &[5; 512]), OK);
    assert_eq!(guest.read_at(1, 512).unwrap(), [5; 512]);
}
