//! A guest on a vSSD, as experiments see it.
//!
//! Two kinds implement [`Testbed`]: [`VmTestbed`](crate::vm_host::VmTestbed) is a QEMU guest on a
//! backend process, [`Twin`](crate::twin::Twin) the same driver, application and device
//! in this process. An experiment cannot tell which it runs on, but by the clock.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vssd_host::control::protocol::{EncodingName, Resized, TrackerName, VssdStatus};
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::{Command, Pick, Report, command, report};

/// How guest and device are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// A guest under QEMU, on a backend process by vhost-user.
    Qemu,
    /// Both in this process, by queues in memory, on a virtual clock: the same
    /// counts, no times.
    Twin,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Twin => "twin",
        })
    }
}

/// The vSSD of a testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Full size of the vSSD.
    pub size: ByteSize,
    /// Bytes in a block.
    pub block_size: ByteSize,
    /// Bytes that will be written at most. With none, a twin moves no data at
    /// all, and a read there can only be counted, not checked.
    pub written: ByteSize,
}

/// The slow disk behind a guest's cache: as large as it says, and without content
/// where nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginShape {
    /// Full size.
    pub size: ByteSize,
    /// The medium that it imitates. A twin's imitates none: its clock does not move
    /// by what a medium takes.
    pub media: Option<MediaKind>,
}

/// The disks of a testbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks {
    /// The vSSD.
    pub vssd: Shape,
    /// The disk for which it is to be a cache.
    pub origin: Option<OriginShape>,
    /// A file of accesses for the guest to replay, as its third disk; only a guest
    /// with an origin disk has one.
    pub trace: Option<PathBuf>,
}

impl From<Shape> for Disks {
    fn from(vssd: Shape) -> Self {
        Self {
            vssd,
            origin: None,
            trace: None,
        }
    }
}

/// How a resize is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ResizeOptions {
    /// Who picks.
    pub pick: Pick,
    /// How long the guest has.
    pub deadline: Duration,
    /// Seed of the hypervisor's picks.
    pub seed: u64,
}

/// A conversation with a guest: commands there, reports back.
pub trait Talk {
    /// The time by which this guest's answers are waited for, nanoseconds.
    fn now_ns(&self) -> u64;

    /// Sends a line.
    fn say(&mut self, line: &str) -> Result<()>;

    /// The next report, which may come until `until_ns`; `doing` is what the
    /// guest is asked for, for an error that says so.
    fn hear(&mut self, until_ns: u64, doing: &str) -> Result<Report>;

    /// The command whose reports are still to come.
    fn pending(&mut self) -> &mut Option<String>;

    /// When a wait that may take `at_most` from now ends.
    fn until(&self, at_most: Duration) -> u64 {
        self.now_ns().saturating_add(at_most.as_nanos() as u64)
    }

    /// Runs a command to its end and returns its reports, without the closing one.
    fn run(&mut self, command: &Command, at_most: Duration) -> Result<Vec<Report>> {
        self.start(command)?;
        self.finish(at_most)
    }

    /// Starts a command.
    fn start(&mut self, command: &Command) -> Result<()> {
        let line = command.to_string();
        if let Some(running) = self.pending() {
            bail!("the guest is still busy with `{running}`");
        }
        self.say(&line)?;
        *self.pending() = Some(line);
        Ok(())
    }

    /// Waits for the end of the command that was started.
    fn finish(&mut self, at_most: Duration) -> Result<Vec<Report>> {
        let line = self.pending().take().context("no command was started")?;
        let until = self.until(at_most);
        let mut reports = Vec::new();
        loop {
            match self.hear(until, &line)? {
                Report::Done(report::Done { command, .. }) if command == line => {
                    return Ok(reports);
                }
                Report::Failed(report::Failed { command, reason }) => {
                    bail!("the guest failed `{command}`: {reason}")
                }
                report => reports.push(report),
            }
        }
    }

    /// Ends a command that goes on until the next one arrives, and returns its reports.
    fn stop(&mut self, at_most: Duration) -> Result<Vec<Report>> {
        let running = self.pending().take();
        self.start(&Command::Info)?;
        let next = std::mem::replace(self.pending(), running);
        let reports = self.finish(at_most)?;
        *self.pending() = next;
        self.finish(at_most)?;
        Ok(reports)
    }

    /// Waits until the guest reports a change of its list that ends at `held` blocks.
    fn await_resized(&mut self, held: u32, at_most: Duration) -> Result<()> {
        let until = self.until(at_most);
        loop {
            let report = self.hear(until, "follow a resize")?;
            if matches!(report, Report::Resized(report::Resized { held: now, .. }) if now == held) {
                return Ok(());
            }
        }
    }
}

/// A guest on a vSSD.
pub trait Testbed {
    /// How the two are joined.
    fn transport(&self) -> Transport;

    /// Blocks of the vSSD at full size.
    fn capacity(&self) -> u32;

    /// The guest.
    fn guest(&mut self) -> &mut dyn Talk;

    /// Makes the guest hold `blocks`, and waits until both lists agree.
    fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized>;

    /// The vSSD as the backend sees it.
    fn status(&mut self) -> Result<VssdStatus>;

    /// Sets how block sets travel from now on, and waits until the driver has
    /// started over with that.
    fn set_encoding(&mut self, encoding: EncodingName) -> Result<()>;

    /// Sets what the backend remembers of requests, from now on.
    fn observe(&mut self, observer: TrackerName) -> Result<()>;

    /// What the backend logged last.
    fn last_words(&self) -> String;

    /// Ends the guest in good order.
    fn shut_down(self: Box<Self>) -> Result<()>;
}

/// How long a guest may take to write all it holds.
const FILL_PATIENCE: Duration = Duration::from_secs(300);

/// Has the guest write every block that it holds.
pub fn fill(testbed: &mut dyn Testbed, seed: u64) -> Result<()> {
    let reports = testbed
        .guest()
        .run(&Command::Fill(command::Fill { seed }), FILL_PATIENCE)?;
    match reports.last() {
        Some(Report::Filled(report::Filled { errors: 0, .. })) => Ok(()),
        Some(Report::Filled(report::Filled { errors, .. })) => bail!(
            "{errors} blocks could not be written; the backend said: {}",
            testbed.last_words()
        ),
        other => bail!("the guest did not say what it wrote, but {other:?}"),
    }
}
