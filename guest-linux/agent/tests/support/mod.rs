//! What the integration tests share: a backend as a process ([`Host`]) and an agent as another one
//! ([`Agent`]), with their logs.
//!
//! Nothing here sleeps but where there is no event to wait for; each wait has a bound, and reaching
//! the bound is a failure.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod disks;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser as _;
use tempfile::TempDir;
use vssd_host::control::Client;
use vssd_host::control::protocol::{Change, Reply, Request, Resize, Resized, VssdStatus};
use vssd_host::size::Amount;

/// The bound after which a test considers anything hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

const SERVE: &str = "VSSD_AGENT_TEST_HOST";

/// The body of the test `serve` of each test binary: the backend, in a process that can be killed.
/// A package's tests find only the programs of that package, so the binary runs itself.
pub fn serve() {
    if let Ok(line) = std::env::var(SERVE) {
        let args = vssd_host::daemon::Args::parse_from(line.split('\t'));
        vssd_host::daemon::run(&args).unwrap();
    }
}

/// A folder with a backing file and sockets.
pub struct Site {
    folder: TempDir,
}

impl Site {
    pub fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a backend of one vSSD, `vm1`, with an agent's channel.
    pub fn host(&self, size: &str, block_size: &str) -> Host {
        let path = |name| self.path(name).display().to_string();
        let vssd = format!(
            "name=vm1,socket={},size={size},block-size={block_size},agent={}",
            path("vm1.sock"),
            path("agent.sock")
        );
        let line = [
            "vssd-host".to_owned(),
            "--create".to_owned(),
            format!("--backing={}", path("disk.img")),
            format!("--control={}", path("control.sock")),
            format!("--vssd={vssd}"),
        ];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "serve", "--ignored", "--nocapture"])
            .env(SERVE, line.join("\t"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        let host = Host {
            child,
            control: self.path("control.sock"),
        };
        while !said
            .recv_timeout(PATIENCE)
            .expect("the backend says that it is ready")
            .starts_with("ready")
        {}
        host
    }

    /// Starts an agent on the channel.
    pub fn agent<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Agent {
        Agent::on(&self.path("agent.sock"), args)
    }
}

/// The lines of a stream.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // The test may have ended first.
            let _ = sender.send(line);
        }
    });
    lines
}

/// A backend; dropping it kills it.
pub struct Host {
    child: Child,
    control: PathBuf,
}

/// A request to resize to `target` blocks, whose guest is to be waited for.
pub fn to(target: u32) -> Resize {
    let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(target.into())));
    resize.deadline_ms = 3_600_000;
    resize
}

impl Host {
    pub fn client(&self) -> Client {
        Client::connect(&self.control, Some(PATIENCE)).unwrap()
    }

    pub fn vssd(&self) -> VssdStatus {
        self.client().status().unwrap().vssds.remove(0)
    }

    /// Starts a resize and returns its number.
    pub fn begin(&self, mut resize: Resize) -> u64 {
        resize.wait = false;
        match self.client().call(&Request::Resize(resize)).unwrap() {
            Reply::Started { id } => id,
            other => panic!("{other:?}"),
        }
    }

    /// Watches until the vSSD is as wanted.
    pub fn wait_until(&self, wanted: impl Fn(&VssdStatus) -> bool) -> VssdStatus {
        let mut client = self.client();
        client.send(&Request::Watch {}).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let Reply::Status(mut status) = client.receive().unwrap() else {
                panic!("no status");
            };
            let vssd = status.vssds.remove(0);
            if wanted(&vssd) {
                return vssd;
            }
            assert!(Instant::now() < until, "it stays {vssd:?}");
        }
    }

    /// Waits for the end of resize `id`.
    pub fn ended(&self, id: u64) -> Resized {
        let vssd = self.wait_until(|v| v.last_resize.as_ref().is_some_and(|r| r.id >= id));
        vssd.last_resize.filter(|r| r.id == id).unwrap()
    }

    /// Resizes to `target` blocks, as far as the guest does.
    pub fn resize(&self, target: u32) -> Resized {
        self.ended(self.begin(to(target)))
    }

    /// Ends the resize under way, if there is one.
    pub fn cancel(&self) {
        let vssd = "vm1".to_owned();
        // An error says that there is none.
        let _ = self.client().call(&Request::Cancel { vssd });
    }

    /// Kills it in the middle of its work.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent; dropping it kills it.
pub struct Agent {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Agent {
    pub fn on<S: AsRef<OsStr>>(port: &Path, args: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vssd-agent"));
        command
            .args(args)
            .arg("--port")
            .arg(port)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        Self {
            child,
            log,
            seen: Vec::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its log that has `part` in it.
    pub fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(left) else {
                panic!("the agent does not say `{part}`, but: {:#?}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// What it has logged so far.
    pub fn seen(&mut self) -> &[String] {
        self.seen.extend(self.log.try_iter());
        &self.seen
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.pid().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the agent does not end");
            // A child's end cannot be waited for with a bound by std alone.
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its exit code and all that it said.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let code = self.ended().code();
        self.seen.extend(self.log.iter());
        (code, self.seen.join("\n"))
    }

    /// Kills it in the middle of its work.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A number of `/proc/PID/status`, KiB.
    pub fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        let value = line.unwrap().trim().trim_end_matches(" kB");
        value.parse().unwrap()
    }

    /// Ticks of processor time that it has used, and how often it was woken.
    pub fn activity(&self) -> (u64, u64) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        (ticks, line.unwrap().trim().parse().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file anew.
pub fn write(path: &Path, text: &str) {
    std::io::Write::write_all(&mut File::create(path).unwrap(), text.as_bytes()).unwrap();
}
