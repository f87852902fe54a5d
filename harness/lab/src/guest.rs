//! A guest under QEMU: boot it, tell it what to run, hear what it reports.

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
use crate::testbed::Talk;

/// The longest line that a guest may send, bytes: a guest is untrusted.
const MAX_LINE: u64 = 4 << 20;

/// How long QEMU may take to end after its guest was asked to: a bound on hanging.
const END_PATIENCE: Duration = Duration::from_secs(120);

/// Lines of the serial console shown when a guest fails.
const LINES_SHOWN: usize = 12;

/// What comes from a guest.
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
    /// When QEMU was started.
    epoch: Instant,
    serial: PathBuf,
    stderr: PathBuf,
    /// The guest's first words.
    pub ready: Ready,
}

/// What a guest says once it is up.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Blocks at full size.
    pub capacity: u32,
    /// Blocks held.
    pub held: u32,
    /// Start of the QEMU process to the guest's word, host clock.
    pub ready_ns: u64,
    /// Start of the guest's clock to its first read, guest clock.
    pub first_io_guest_ns: u64,
}

/// Where a guest keeps its sockets and logs; short, for the sockets.
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
            // Left by the guest before this one.
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
                // Nobody listens once the guest is dropped.
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
            epoch: started,
            serial,
            stderr,
            ready: Ready {
                capacity: 0,
                held: 0,
                ready_ns: 0,
                first_io_guest_ns: 0,
            },
        };
        match guest.hear(guest.until(patience), "boot")? {
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
                guest.channel = connection.recv().context("QEMU connected its channel")?;
                Ok(guest)
            }
            Report::Failed(report::Failed { reason, .. }) => {
                bail!("the guest refused to run: {reason}")
            }
            other => bail!("the guest began with something unexpected: {other}"),
        }
    }

    /// QEMU's process number.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Ends the guest and checks that it ended well.
    pub fn shut_down(mut self) -> Result<()> {
        self.start(&Command::Exit)?;
        // Whether its last words or its end are noticed first is a matter of luck.
        let status = self.process.wait(END_PATIENCE);
        match status.and_then(|status| status.code()) {
            Some(EXIT_SUCCESS) => Ok(()),
            _ => Err(self.explain(&format!("did not end well: {status:?}"))),
        }
    }

    fn explain_exit(&self, status: ExitStatus) -> anyhow::Error {
        let stderr = fs::read_to_string(&self.stderr).unwrap_or_default();
        match stderr.lines().last() {
            Some(last) => self.explain(&format!("ended too early ({status}); QEMU said: {last}")),
            None => self.explain(&format!("ended too early ({status})")),
        }
    }

    /// An error that says what happened and shows the guest's last lines.
    fn explain(&self, what: &str) -> anyhow::Error {
        if interrupt::requested() {
            return anyhow::anyhow!("interrupted");
        }
        let serial = fs::read(&self.serial).unwrap_or_default();
        let text = String::from_utf8_lossy(&serial);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n  ");
        let shown = match last.is_empty() {
            true => "it printed nothing".to_owned(),
            false => format!("its last lines:\n  {last}"),
        };
        anyhow::anyhow!("the guest {what}; {shown}")
    }
}

impl Talk for Guest {
    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let sent = self.channel.write_all(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.explain(&format!("could not be told to {line}: {error}")))
    }

    fn hear(&mut self, until_ns: u64, doing: &str) -> Result<Report> {
        let patience = Duration::from_nanos(until_ns.saturating_sub(self.now_ns()));
        match self.events.recv_timeout(patience) {
            Ok(Event::Line(line)) => Report::from_line(&line)
                .with_context(|| format!("the guest sent a line that is no report: {line:.80}")),
            Ok(Event::Exited(status)) => Err(self.explain_exit(status)),
            Err(RecvTimeoutError::Timeout) => {
                self.process.kill();
                Err(self.explain(&format!("did not answer in time while asked to `{doing}`")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.explain("is gone")),
        }
    }

    fn pending(&mut self) -> &mut Option<String> {
        &mut self.pending
    }
}

/// Waits for QEMU's connection and passes the guest's lines on.
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
