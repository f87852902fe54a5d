//! The server under test: our backend or `qemu-storage-daemon`, as a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::backend::spawn_until_ready;
use crate::process::Process;

/// Timeout for the peer to listen.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// Program of the peer.
pub const PEER: &str = "qemu-storage-daemon";

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    pub socket: PathBuf,
}

impl Server {
    /// Starts our backend with one vSSD of `size` bytes on `backing` and with the arguments
    /// `more`. Its sockets are in `folder`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn ours(folder: &Path, backing: &str, size: u64, more: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("find the harness executable")?;
        let socket = folder.join("vssd.sock");
        let mut command = Command::new(program);
        command
            .args(["backend", "--log", "warn", "--create", "--backing", backing])
            .args(more)
            .arg("--control")
            .arg(folder.join("control.sock"))
            .arg("--vssd")
            .arg(format!("name=vm1,socket={},size={size}B", socket.display()));
        let (process, is_ready) = spawn_until_ready(command)?;
        ensure!(is_ready, "the backend did not start; see its log above");
        Ok(Self { process, socket })
    }

    /// Starts `qemu-storage-daemon` with the block device `blockdev`, whose node name is `disk`, and
    /// with so many request queues.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn peer(folder: &Path, blockdev: &str, queues: u16) -> Result<Self> {
        let socket = folder.join("peer.sock");
        let mut command = Command::new(PEER);
        command
            .args(["--blockdev", blockdev])
            .arg("--export")
            .arg(format!(
                "vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={},writable=on,num-queues={queues}",
                socket.display()
            ))
            .stdin(Stdio::null());
        let process = Process::spawn(command, |_| {}, |_| {}).with_context(|| {
            format!("start {PEER}: install it (Debian package qemu-system-common)")
        })?;
        let until = Instant::now() + START_PATIENCE;
        while !socket.exists() {
            let is_alive = process.wait(Duration::ZERO).is_none();
            ensure!(
                Instant::now() < until && is_alive,
                "{PEER} did not start; see its log above"
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { process, socket })
    }

    /// Pins all its threads to `processors`.
    ///
    /// # Errors
    /// When it has exited, or a thread cannot be pinned.
    pub fn run_on(&self, processors: &CpuSet) -> Result<()> {
        let threads = format!("/proc/{}/task", self.process.pid());
        for thread in fs::read_dir(threads).context("list a server's threads")? {
            let name = thread.context("list a server's threads")?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let thread = Pid::from_raw(number.context("a thread ID in /proc is not a number")?);
            match sched_setaffinity(thread, processors) {
                // The thread has exited, or is a kernel worker that cannot be pinned.
                Err(Errno::ESRCH | Errno::EINVAL) => {}
                pinned => pinned.context("pin a server's thread")?,
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

    /// Resident memory, bytes.
    ///
    /// # Errors
    /// When it has exited.
    pub fn memory(&self) -> Result<u64> {
        memory_of(&self.process.pid().to_string())
    }

    /// CPU time used, exited threads included, nanoseconds.
    ///
    /// # Errors
    /// When it has exited.
    pub fn cpu_ns(&self) -> Result<u64> {
        let pid = Pid::from_raw(self.process.pid());
        let clock = clock_getcpuclockid(pid).context("find the CPU clock of a process")?;
        let time = clock.now().context("read the CPU clock of a process")?;
        Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    }
}

/// Resident memory of the process `of`, a pid or `self`, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn memory_of(of: &str) -> Result<u64> {
    let path = format!("/proc/{of}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib
        .with_context(|| format!("{path} has no VmRSS"))?
        .trim()
        .parse()?;
    Ok(kib * 1024)
}
