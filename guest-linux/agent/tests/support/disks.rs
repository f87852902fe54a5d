//! Loop devices with file systems, which stand for the disk of the vSSD: the agent and the backend
//! are real, and blocks that the backend has are overwritten with a pattern that must stay.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use vssd::block_set::BlockSet;
use vssd::driver::{Driver, Step, command_buffer};
use vssd::stream::{AgentEnd, Message};

use super::Site;

pub const BLOCK: u64 = 4096;

/// Runs a program that must succeed; returns what it said.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}, which this test needs: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{program} {args:?} failed (these tests need root and loop devices): {said}{errors}"
    );
    said.trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A loop device on a file of its own, until it is dropped.
pub struct Disk {
    pub node: PathBuf,
    pub file: PathBuf,
}

impl Disk {
    pub fn new(file: &Path, len: u64) -> Self {
        File::create(file).unwrap().set_len(len).unwrap();
        Self::on(file)
    }

    pub fn on(file: &Path) -> Self {
        let node = run("losetup", &["--find", "--show", "--partscan", text(file)]);
        Self {
            node: PathBuf::from(node),
            file: file.to_owned(),
        }
    }

    pub fn path(&self) -> &str {
        text(&self.node)
    }

    /// Adds a partition of these sectors; returns its node. The kernel gets it by `addpart`, and
    /// no table is written: not every kernel reads tables.
    pub fn partition(&self, number: u32, sectors: Range<u64>) -> PathBuf {
        let (start, len) = (sectors.start, sectors.end - sectors.start);
        let numbers = [u64::from(number), start, len].map(|n| n.to_string());
        let [number, start, len] = numbers.each_ref().map(String::as_str);
        run("addpart", &[self.path(), number, start, len]);
        PathBuf::from(format!("{}p{number}", self.path()))
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

/// A mounted file system, until it is dropped.
pub struct Mounted {
    pub at: PathBuf,
    node: PathBuf,
    kind: &'static str,
    is_mounted: bool,
}

impl Mounted {
    /// Makes a file system and mounts it.
    pub fn make(kind: &'static str, node: &Path, at: &Path) -> Self {
        let quiet = if kind == "xfs" { "-q" } else { "-qF" };
        run(&format!("mkfs.{kind}"), &[quiet, text(node)]);
        fs::create_dir(at).unwrap();
        Self::mount(kind, node, at)
    }

    pub fn mount(kind: &'static str, node: &Path, at: &Path) -> Self {
        run("mount", &["-t", kind, text(node), text(at)]);
        Self {
            at: at.to_owned(),
            node: node.to_owned(),
            kind,
            is_mounted: true,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Unmounts, and checks the file system.
    pub fn unmount(&mut self) {
        run("umount", &[text(&self.at)]);
        self.is_mounted = false;
        match self.kind {
            "xfs" => run("xfs_repair", &["-n", text(&self.node)]),
            _ => run("e2fsck", &["-fn", text(&self.node)]),
        };
    }

    pub fn mount_again(&mut self) {
        run(
            "mount",
            &["-t", self.kind, text(&self.node), text(&self.at)],
        );
        self.is_mounted = true;
    }

    /// Writes files of `len` bytes until none fits any more, at most `most`; returns how many.
    pub fn fill(&self, tag: &str, len: usize, most: usize) -> usize {
        for number in 0..most {
            let path = self.path(&format!("{tag}{number}"));
            if fs::write(&path, content(tag, number, len)).is_err() {
                let _ = fs::remove_file(&path);
                return number;
            }
        }
        most
    }

    /// Checks that these files are as they were written.
    pub fn verify(&self, tag: &str, len: usize, numbers: impl IntoIterator<Item = usize>) {
        run("sh", &["-c", "echo 3 > /proc/sys/vm/drop_caches"]);
        for number in numbers {
            let path = self.path(&format!("{tag}{number}"));
            let found = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert!(found == content(tag, number, len), "{path:?} is bad");
        }
    }

    /// Bytes that are free.
    pub fn available(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.at).unwrap();
        space.f_bavail * space.f_frsize
    }

    /// The balloon's files.
    pub fn pieces(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(".vssd-balloon")).unwrap();
        let mut pieces: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        pieces.sort();
        pieces
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
        }
    }
}

/// What a file has in it: no two blocks are alike.
fn content(tag: &str, number: usize, len: usize) -> Vec<u8> {
    let line = format!("{tag} {number} ");
    let mut bytes = Vec::with_capacity(len + line.len() + 20);
    while bytes.len() < len {
        let at = bytes.len();
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(at.to_string().as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The blocks that the backend's guest may use, as the contract's own driver reads them; no agent is
/// running.
pub fn held(site: &Site, random: u64) -> BlockSet {
    use std::io::{Read, Write};
    let mut stream = loop {
        // The backend takes a moment to notice that the agent has gone.
        let mut stream = std::os::unix::net::UnixStream::connect(site.path("agent.sock")).unwrap();
        stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let mut first = [0; 16];
        stream.read_exact(&mut first).unwrap();
        // As in SPEC.md, 10.3: a READY, not a CLOSED.
        if first[8] == 3 {
            break stream;
        }
    };
    let mut end = AgentEnd::open(random << 32);
    let mut driver: Option<Driver> = None;
    let mut command = command_buffer();
    loop {
        stream.write_all(end.output()).unwrap();
        end.sent(end.output().len());
        let mut bytes = vec![0; 1 << 16];
        let count = stream.read(&mut bytes).unwrap();
        let mut input = &bytes[..count];
        while let Some(message) = end.receive(&mut input) {
            match (message, &mut driver) {
                (Message::Opened(identity), driver) => {
                    *driver = Some(Driver::new(identity.geometry));
                }
                (Message::Response(response), Some(driver)) => {
                    driver.on_response(response).unwrap();
                }
                (Message::Event(event), Some(driver)) => driver.on_event(event),
                (other, _) => panic!("{other:?}"),
            }
        }
        let Some(driver) = driver.as_mut().filter(|_| end.is_open()) else {
            continue;
        };
        if driver.is_quiet() {
            return driver.held().clone();
        }
        match driver.poll(&mut command) {
            Step::Send { len } => end.send(&command[..len]),
            Step::Wait => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The blocks that are not in a set.
pub fn gone(held: &BlockSet) -> BlockSet {
    let mut gone = BlockSet::full(held.capacity());
    gone.subtract(held);
    gone
}

fn pattern(block: u32) -> Vec<u8> {
    (u64::from(block) ^ 0xdead_beef_0bad_cafe)
        .to_le_bytes()
        .repeat(BLOCK as usize / 8)
}

/// Overwrites blocks behind the file system's back, as a host does that has them.
pub fn poison(file: &Path, blocks: &BlockSet) {
    let file = File::options().write(true).open(file).unwrap();
    for block in blocks.iter() {
        let at = u64::from(block) * BLOCK;
        file.write_all_at(&pattern(block), at).unwrap();
    }
}

/// Checks that nothing was written there since.
pub fn check_poison(file: &Path, blocks: &BlockSet) {
    let file = File::open(file).unwrap();
    let mut bytes = vec![0; BLOCK as usize];
    for block in blocks.iter() {
        file.read_exact_at(&mut bytes, u64::from(block) * BLOCK)
            .unwrap();
        assert!(
            bytes == pattern(block),
            "block {block} was written, which the host has"
        );
    }
}
