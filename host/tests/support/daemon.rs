//! The daemon as a process, in a folder of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vssd_host::control::Client;
use vssd_host::control::protocol::{Reply, Request, Resize, Resized, Status, VssdStatus};

use super::PATIENCE;

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

    /// The value of `--vssd` for a vSSD called `name`.
    pub fn spec(&self, name: &str, rest: &str) -> String {
        let socket = self.path(&format!("{name}.sock"));
        format!("name={name},socket={},{rest}", socket.display())
    }

    /// The daemon's command line on this folder.
    pub fn command(&self, specs: &[String], more: &[&str]) -> Command {
        self.command_on(&self.path("disk.img"), specs, more)
    }

    fn command_on(&self, backing: &Path, specs: &[String], more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vssd-host"));
        command
            .arg("--backing")
            .arg(backing)
            .arg("--control")
            .arg(self.path("control.sock"))
            .args(specs.iter().flat_map(|spec| ["--vssd", spec]))
            .args(more);
        command
    }

    /// Runs a daemon that is not expected to start; returns its output.
    pub fn refused(&self, specs: &[String], more: &[&str]) -> String {
        self.refused_on(&self.path("disk.img"), specs, more)
    }

    /// The same on another backing.
    pub fn refused_on(&self, backing: &Path, specs: &[String], more: &[&str]) -> String {
        Self::refused_command(self.command_on(backing, specs, more))
    }

    /// The same with a command line of this folder's daemon.
    pub fn refused_command(command: Command) -> String {
        let output = finish(command);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "it started; it said: {text}");
        assert_eq!(output.stdout, b"", "it said that it was ready");
        text
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(&self, specs: &[String]) -> Daemon {
        self.start_with(specs, &["--create"])
    }

    /// Starts the daemon with more arguments and waits until it listens.
    pub fn start_with(&self, specs: &[String], more: &[&str]) -> Daemon {
        self.launch(self.command(specs, more))
    }

    /// The same, with its log for the test to read.
    pub fn start_with_log(&self, specs: &[String], more: &[&str]) -> (Daemon, Log) {
        let (reader, writer) = pipe().unwrap();
        let mut command = self.command(specs, more);
        command.stderr(writer);
        let daemon = self.launch(command);
        (daemon, Log(lines(reader)))
    }

    /// Starts the daemon with a limit of open files, the soft one, the hard one or both as
    /// `flags` of `ulimit` say.
    pub fn with_open_files(&self, flags: &str, limit: u64, command: &Command) -> Command {
        let mut limited = Command::new("sh");
        limited
            .arg("-c")
            .arg(format!("ulimit {flags} {limit}; exec \"$@\""))
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args());
        limited
    }

    /// Starts a daemon whose writes behind `limit` bytes of a file fail, as on
    /// a full disk, and whose log goes to `daemon.log`.
    pub fn start_limited(&self, specs: &[String], limit: u64) -> Daemon {
        let mut command = limited(self.command(specs, &[]), limit);
        command.stderr(File::create(self.path("daemon.log")).unwrap());
        self.launch(command)
    }

    /// Starts a command of this folder's daemon and waits until it listens.
    pub fn launch(&self, command: Command) -> Daemon {
        self.launch_with_line(command).0
    }

    /// Starts a daemon; returns also the line that it printed when it was ready.
    pub fn launch_with_line(&self, mut command: Command) -> (Daemon, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let line = lines.recv_timeout(PATIENCE);
        let daemon = Daemon {
            child,
            control: self.path("control.sock"),
        };
        let line = line.expect("it says that it is ready");
        assert!(line.starts_with("ready"), "{line}");
        (daemon, line)
    }

    /// `vssdctl` on this folder's control socket.
    pub fn vssdctl(&self, args: &[&str]) -> Output {
        self.vssdctl_with(args, "")
    }

    /// The same with a standard input.
    pub fn vssdctl_with(&self, args: &[&str], input: &str) -> Output {
        let stdin = self.path("stdin");
        std::fs::write(&stdin, input).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vssdctl"));
        command
            .arg("--control")
            .arg(self.path("control.sock"))
            .args(args)
            .stdin(File::open(stdin).unwrap());
        finish(command)
    }
}

/// The lines that come out of `stream`.
pub fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // The test may have ended first.
            let _ = sender.send(line);
        }
    });
    lines
}

/// What a daemon logs.
pub struct Log(Receiver<String>);

impl Log {
    /// Waits for a line that has `part` in it.
    pub fn wait_for(&self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.0.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("the log does not say `{part}`"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

/// `vssdctl pool` with these arguments.
pub fn pool(args: &[&str]) -> Output {
    finish(pool_command(args))
}

/// The command line of that.
pub fn pool_command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssdctl"));
    command.arg("pool").args(args);
    command
}

/// The command, in a process that may not write files larger than `limit` bytes (`ulimit -f`). The
/// signal that such a write raises is left to it.
pub fn limited(inner: Command, limit: u64) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        // POSIX counts the limit in units of 512 bytes.
        .arg(format!("ulimit -f {}; exec \"$@\"", limit / 512))
        .arg("sh")
        .arg(inner.get_program())
        .args(inner.get_args());
    command
}

/// Runs a program to its end, which must come within [`PATIENCE`].
pub fn finish(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, outputs) = mpsc::channel();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::spawn(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        stdout.read_to_end(&mut out).unwrap();
        stderr.read_to_end(&mut err).unwrap();
        // The test may have given up.
        let _ = sender.send((out, err));
    });
    match outputs.recv_timeout(PATIENCE) {
        Ok((stdout, stderr)) => Output {
            status: child.wait().unwrap(),
            stdout,
            stderr,
        },
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end");
        }
    }
}

/// A running daemon; dropping it kills it.
pub struct Daemon {
    child: Child,
    control: PathBuf,
}

impl Daemon {
    pub fn control(&self) -> &Path {
        &self.control
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.control, Some(PATIENCE)).unwrap()
    }

    pub fn status(&self) -> Status {
        self.client().status().unwrap()
    }

    /// The state of the first vSSD.
    pub fn vssd(&self) -> VssdStatus {
        self.status().vssds.remove(0)
    }

    /// Starts a resize and returns its number.
    pub fn begin(&self, mut resize: Resize) -> u64 {
        resize.wait = false;
        match self.client().call(&Request::Resize(resize)).unwrap() {
            Reply::Started { id } => id,
            other => panic!("{other:?}"),
        }
    }

    /// Watches until the first vSSD is as wanted.
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

    /// Waits for the end of resize `id` of the first vSSD.
    pub fn ended(&self, id: u64) -> Resized {
        let vssd = self.wait_until(|v| v.last_resize.as_ref().is_some_and(|r| r.id >= id));
        vssd.last_resize.filter(|r| r.id == id).unwrap()
    }

    /// Requests shutdown, as Ctrl-C does, and waits for it.
    pub fn terminate(mut self) -> ExitStatus {
        self.ask_to_end();
        self.wait()
    }

    /// Requests shutdown.
    pub fn ask_to_end(&self) {
        // SAFETY: a call without pointers; the child is not waited for yet, so
        // its number is still its own.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        assert_eq!(sent, 0);
    }

    /// Kills it in the middle of its work.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has this many open descriptors.
    pub fn wait_for_descriptors(&self, wanted: usize) {
        let until = Instant::now() + PATIENCE;
        while self.descriptors() != wanted {
            let open = self.descriptors();
            assert!(Instant::now() < until, "{open} descriptors, not {wanted}");
            // There is no event for their number.
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Bytes that it has read from anywhere.
    pub fn bytes_read(&self) -> u64 {
        let counts = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        let line = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.unwrap().parse().unwrap()
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// Waits for its end, which must come within [`PATIENCE`].
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the daemon does not end");
            // A child's end cannot be waited for with a bound by std alone.
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
