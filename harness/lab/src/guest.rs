//! A guest under QEMU: boots it, sends commands, receives reports.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use terminal::interrupt;
use workloads::{Command, Report, report};

use crate::process::Process;
use crate::qemu::{EXIT_SUCCESS, Launch, Qemu};
use crate::testbed::GuestChannel;

/// The longest line that a guest may send, bytes: a guest is untrusted.
const MAX_LINE: u64 = 4 << 20;

/// Timeout for QEMU to exit after the guest command `exit`.
const END_PATIENCE: Duration = Duration::from_secs(120);

/// Lines of the serial console that an error quotes.
const LINES_SHOWN: usize = 12;

enum Event {
    Line(String),
    Exited(ExitStatus),
}

/// A running guest.
pub struct Guest {
    process: Process,
    events: Receiver<Event>,
    channel: UnixStream,
    pending: Option<String>,
    started: Instant,
    serial: PathBuf,
    stderr: PathBuf,
    pub ready: Ready,
}

/// What a guest reports when it has booted.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Blocks at full size.
    pub capacity: u32,
    /// Blocks held.
    pub held: u32,
    /// From the start of the QEMU process to this report, host clock.
    pub ready_ns: u64,
    /// From the start of the guest's clock to its first read, guest clock.
    pub first_io_guest_ns: u64,
}

/// Folder for a guest's sockets and logs. The path must be short: socket paths are limited.
#[derive(Clone, Debug)]
pub struct GuestFolder(pub PathBuf);

impl Guest {
    /// Boots a guest and waits for its [`Report::Ready`].
    pub fn boot(
        qemu: &Qemu,
        launch: &Launch<'_>,
        folder: &GuestFolder,
        patience: Duration,
    ) -> Result<Self> {
        let channel_path = folder.0.join("channel.sock");
        let serial = folder.0.join("serial.log");
        let stderr = folder.0.join("qemu.log");
        for path in [&channel_path, &serial] {
            // Left over from the previous guest.
            let _ = fs::remove_file(path);
        }
        let listener = UnixListener::bind(&channel_path)
            .with_context(|| format!("listen at {}", channel_path.display()))?;
        let mut command = qemu.command(launch, &channel_path, &serial);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(
            fs::File::create(&stderr).with_context(|| format!("write {}", stderr.display()))?,
        );
        let (sender, events) = mpsc::channel();
        let exits = sender.clone();
        let started = Instant::now();
        let process = Process::spawn(
            command,
            |_| {},
            move |status| {
                // The receiver is gone once the guest is dropped.
                let _ = exits.send(Event::Exited(status));
            },
        )
        .context("start QEMU")?;
        let (connected, connection) = mpsc::channel();
        thread::spawn(move || accept(&listener, &connected, &sender));
        let mut guest = Self {
            process,
            events,
            // Replaced as soon as QEMU has connected.
            channel: UnixStream::pair().context("make a socket")?.0,
            pending: None,
            started,
            serial,
            stderr,
            ready: Ready {
                capacity: 0,
                held: 0,
                ready_ns: 0,
                first_io_guest_ns: 0,
            },
        };
        match guest.next_report(guest.until(patience), "boot")? {
            Report::Ready(report::Ready {
                capacity,
                held,
                first_io_ns,
                ..
            }) => {
                guest.ready = Ready {
                    capacity,
                    held,
                    ready_ns: started.elapsed().as_nanos() as u64,
                    first_io_guest_ns: first_io_ns,
                };
                guest.channel = connection
                    .recv()
                    .context("QEMU closed the guest's channel")?;
                Ok(guest)
            }
            Report::Failed(report::Failed { reason, .. }) => {
                bail!("the guest cannot run: {reason}")
            }
            other => bail!("expected the guest's ready report, got `{other}`"),
        }
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Shuts the guest down and checks QEMU's exit status.
    pub fn shut_down(mut self) -> Result<()> {
        self.start(&Command::Exit)?;
        // The exit status alone counts: the guest's last reports may arrive before or after it.
        let status = self.process.wait(END_PATIENCE);
        match status.and_then(|status| status.code()) {
            Some(EXIT_SUCCESS) => Ok(()),
            Some(code) => Err(self.explain(&format!("exited with QEMU status {code}"))),
            None => Err(self.explain(&format!("did not exit within {} s", END_PATIENCE.as_secs()))),
        }
    }

    fn explain_exit(&self, status: ExitStatus) -> anyhow::Error {
        let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
        match stderr.lines().last() {
            Some(last) => self.explain(&format!(
                "exited unexpectedly ({status}); QEMU reported: {last}"
            )),
            None => self.explain(&format!("exited unexpectedly ({status})")),
        }
    }

    /// An error with the guest's last console lines.
    fn explain(&self, what: &str) -> anyhow::Error {
        if interrupt::is_requested() {
            return anyhow::anyhow!("interrupted");
        }
        let serial = fs::read(&self.serial).unwrap_or_default();
        let text = String::from_utf8_lossy(&serial);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        let shown = if last.is_empty() {
            "its console is empty".to_owned()
        } else {
            format!("last console lines:\n  {last}")
        };
        anyhow::anyhow!("the guest {what}; {shown}")
    }
}

impl GuestChannel for Guest {
    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn send_line(&mut self, line: &str) -> Result<()> {
        let sent = self.channel.write_all(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.explain(&format!("did not take the command `{line}`: {error}")))
    }

    fn next_report(&mut self, until_ns: u64, doing: &str) -> Result<Report> {
        let patience = Duration::from_nanos(until_ns.saturating_sub(self.now_ns()));
        match self.events.recv_timeout(patience) {
            Ok(Event::Line(line)) => Report::from_line(&line)
                .with_context(|| format!("the guest sent an invalid report: {line:.80}")),
            Ok(Event::Exited(status)) => Err(self.explain_exit(status)),
            Err(RecvTimeoutError::Timeout) => {
                self.process.kill();
                Err(self.explain(&format!("timed out during `{doing}`")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.explain("has exited")),
        }
    }

    fn pending(&mut self) -> &mut Option<String> {
        &mut self.pending
    }
}

/// Waits for QEMU's connection and forwards the guest's lines.
fn accept(listener: &UnixListener, connected: &Sender<UnixStream>, lines: &Sender<Event>) {
    let Ok((stream, _)) = listener.accept() else {
        return;
    };
    let Ok(reader) = stream.try_clone() else {
        return;
    };
    if connected.send(stream).is_err() {
        return;
    }
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        match reader.by_ref().take(MAX_LINE).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = line.trim_end().to_owned();
        if !line.is_empty() && lines.send(Event::Line(line)).is_err() {
            return;
        }
    }
}
