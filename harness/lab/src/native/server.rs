//! What is measured: our backend, or `qemu-storage-daemon`, as a process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::process::Process;

/// How long a server may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// The peer's program.
pub const PEER: &str = "qemu-storage-daemon";

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where clients connect.
    pub socket: PathBuf,
}

impl Server {
    /// Our backend with one vSSD of `size` bytes on `backing`, and `more`
    /// arguments; its files go to `folder`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn ours(folder: &Path, backing: &str, size: u64, more: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("find the harness")?;
        let socket = folder.join("vssd.sock");
        let mut command = Command::new(program);
        command
            .args(["backend", "--log", "warn", "--create", "--backing", backing])
            .args(more)
            .arg("--control")
            .arg(folder.join("control.sock"))
            .arg("--vssd")
            .arg(format!("name=vm1,socket={},size={size}B", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let (sender, ready) = mpsc::channel();
        let started = move |child: &mut std::process::Child| {
            let stdout = child.stdout.take();
            thread::spawn(move || {
                let lines = stdout.map(BufReader::new).into_iter();
                for line in lines.flat_map(BufRead::lines) {
                    // Nobody listens any more once it is up.
                    let _ = line.map(|line| sender.send(line));
                }
            });
        };
        let process = Process::spawn(command, started, |_| {}).context("start the backend")?;
        match ready.recv_timeout(START_PATIENCE) {
            Ok(line) if line.starts_with("ready") => Ok(Self { process, socket }),
            _ => bail!("the backend did not start; its log is above"),
        }
    }

    /// `qemu-storage-daemon` that exports a block device described by `blockdev`,
    /// called `disk`.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn peer(folder: &Path, blockdev: &str) -> Result<Self> {
        let socket = folder.join("peer.sock");
        let mut command = Command::new(PEER);
        command
            .args(["--blockdev", blockdev])
            .arg("--export")
            .arg(format!(
                "vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={},writable=on",
                socket.display()
            ))
            .stdin(Stdio::null());
        let process = Process::spawn(command, |_| {}, |_| {}).with_context(|| {
            format!("start {PEER}: install it (Debian package qemu-system-common)")
        })?;
        let until = Instant::now() + START_PATIENCE;
        while !socket.exists() {
            let alive = process.wait(Duration::ZERO).is_none();
            ensure!(
                Instant::now() < until && alive,
                "{PEER} did not start; its log is above"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { process, socket })
    }

    /// Has all its threads run on `processors`.
    ///
    /// # Errors
    /// When it has ended, or they cannot.
    pub fn run_on(&self, processors: &CpuSet) -> Result<()> {
        let threads = format!("/proc/{}/task", self.process.pid());
        for thread in fs::read_dir(threads).context("list a server's threads")? {
            let name = thread.context("list a server's threads")?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let thread = Pid::from_raw(number.context("a thread has a number")?);
            match sched_setaffinity(thread, processors) {
                // It has ended, or is one that the kernel has for it and places itself.
                Err(Errno::ESRCH | Errno::EINVAL) => {}
                placed => placed.context("place a server's thread")?,
            }
        }
        Ok(())
    }

    /// Version of the peer.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn peer_version() -> Result<String> {
        let output = Command::new(PEER).arg("--version").output();
        let output = output.with_context(|| {
            format!("run {PEER}: install it (Debian package qemu-system-common)")
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or(PEER).to_owned())
    }

    /// Memory that it has, bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<u64> {
        memory_of(&self.process.pid().to_string())
    }

    /// Processor time that it has taken, threads that ended included, nanoseconds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_ns(&self) -> Result<u64> {
        let pid = Pid::from_raw(self.process.pid());
        let clock = clock_getcpuclockid(pid).context("find the clock of a process")?;
        let time = clock.now().context("read the clock of a process")?;
        Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    }
}

/// Memory of the process `of`, which is a number or `self`: what of it is
/// resident, bytes.
///
/// # Errors
/// When there is no such process.
pub fn memory_of(of: &str) -> Result<u64> {
    let path = format!("/proc/{of}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no VmRSS")?.trim().parse()?;
    Ok(kib * 1024)
}
