//! The interface of experiments to a guest and its vSSD.
//!
//! [`Testbed`] has two implementations. [`VmTestbed`](crate::vm_host::VmTestbed) is a QEMU guest on a
//! backend process; [`Twin`](crate::twin::Twin) is the same driver, application and device in
//! this process. To an experiment they differ only in their clocks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use vssd::advice::Advice;
use vssd_host::control::protocol::{DemandStatus, EncodingName, Resized, VssdStatus};
use vssd_host::emulation::MediaKind;
use vssd_host::size::ByteSize;
use workloads::{Command, GuestPick, HostPick, Pick, Report, command, report};

/// How guest and device are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Transport {
    /// A guest under QEMU, connected to a backend process by vhost-user.
    Qemu,
    /// Guest and device in this process, connected by queues in memory, on a virtual clock:
    /// the same counts, no times.
    Twin,
}

/// The vSSD of a testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Full size of the vSSD.
    pub size: ByteSize,
    pub block_size: ByteSize,
    /// Upper bound of the bytes written. With 0, a twin moves no data: reads are counted, but
    /// cannot be checked.
    pub written: ByteSize,
}

/// The slow disk behind a guest's cache. It is sparse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginShape {
    /// Full size.
    pub size: ByteSize,
    /// The medium that it emulates. On twins this is ignored: the virtual clock does not count
    /// the time of a medium.
    pub media: Option<MediaKind>,
}

/// The disks of a testbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disks {
    pub vssd: Shape,
    /// The disk that the vSSD caches.
    pub origin: Option<OriginShape>,
    /// Image of the trace disk, the third disk. It requires an origin disk.
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

/// Options of a resize.
#[derive(Clone, Copy, Debug)]
pub struct ResizeOptions {
    /// Which side picks the blocks, and by which policy.
    pub pick: Pick,
    /// Time for the guest to comply.
    pub deadline: Duration,
    /// Seed of the hypervisor's random picks.
    pub seed: u64,
}

/// The channel to a guest: sends commands, receives reports.
pub trait GuestChannel {
    /// The clock of this channel's timeouts, nanoseconds.
    fn now_ns(&self) -> u64;

    /// Sends a line.
    fn send_line(&mut self, line: &str) -> Result<()>;

    /// Waits for the next report until `until_ns`. Errors name `doing`, what the guest does.
    fn next_report(&mut self, until_ns: u64, doing: &str) -> Result<Report>;

    /// The command that the guest runs.
    fn pending(&mut self) -> &mut Option<String>;

    /// The end of a timeout that starts now.
    fn until(&self, at_most: Duration) -> u64 {
        self.now_ns().saturating_add(at_most.as_nanos() as u64)
    }

    /// Runs a command to completion and returns its reports, without the final `done`.
    fn run(&mut self, command: &Command, at_most: Duration) -> Result<Vec<Report>> {
        self.start(command)?;
        self.finish(at_most)
    }

    /// Has the guest pick the blocks that it gives up in this way from now on.
    fn set_pick(&mut self, pick: GuestPick, seed: u64, at_most: Duration) -> Result<()> {
        self.run(&Command::Policy(command::Policy { pick, seed }), at_most)
            .map(drop)
    }

    /// Starts a command.
    fn start(&mut self, command: &Command) -> Result<()> {
        let line = command.to_string();
        if let Some(running) = self.pending() {
            bail!("the guest is busy with `{running}`");
        }
        self.send_line(&line)?;
        *self.pending() = Some(line);
        Ok(())
    }

    /// Waits for the started command to complete.
    fn finish(&mut self, at_most: Duration) -> Result<Vec<Report>> {
        let line = self.pending().take().context("no command was started")?;
        let until = self.until(at_most);
        let mut reports = Vec::new();
        loop {
            match self.next_report(until, &line)? {
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

    /// Stops a command that runs until the next one arrives, and returns its reports.
    fn stop(&mut self, at_most: Duration) -> Result<Vec<Report>> {
        let running = self.pending().take();
        self.start(&Command::Info)?;
        let next = std::mem::replace(self.pending(), running);
        let reports = self.finish(at_most)?;
        *self.pending() = next;
        self.finish(at_most)?;
        Ok(reports)
    }

    /// Waits until the guest reports a resize to `held` blocks.
    fn await_resized(&mut self, held: u32, at_most: Duration) -> Result<()> {
        let until = self.until(at_most);
        loop {
            let report = self.next_report(until, "resize")?;
            if matches!(report, Report::Resized(report::Resized { held: now, .. }) if now == held) {
                return Ok(());
            }
        }
    }
}

/// A guest on a vSSD.
pub trait Testbed {
    fn transport(&self) -> Transport;

    /// Blocks of the vSSD at full size.
    fn capacity(&self) -> u32;

    fn guest(&mut self) -> &mut dyn GuestChannel;

    /// Resizes the vSSD to `blocks`, and waits until guest and host agree on the list.
    fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized>;

    /// The vSSD as the backend sees it.
    fn status(&mut self) -> Result<VssdStatus>;

    /// Sets the encoding of block sets, and waits until the driver has started a new session
    /// with it.
    fn set_encoding(&mut self, encoding: EncodingName) -> Result<()>;

    /// Has the backend track requests for a pick.
    fn observe(&mut self, pick: HostPick) -> Result<()>;

    /// Advises the guest's cache from its next command on.
    fn advise(&mut self, advice: Advice) -> Result<()>;

    /// Asks the guest for a report of its demand; `None` if it has nothing to report.
    fn demand(&mut self) -> Result<Option<DemandStatus>>;

    /// The backend's last log line.
    fn last_log_line(&self) -> String;

    /// Shuts the guest down and checks its exit status.
    fn shut_down(self: Box<Self>) -> Result<()>;
}

/// Timeout for a guest to write all blocks that it holds.
const FILL_PATIENCE: Duration = Duration::from_secs(300);

/// Has the guest write every block that it holds.
pub fn fill(testbed: &mut dyn Testbed, seed: u64) -> Result<()> {
    let reports = testbed
        .guest()
        .run(&Command::Fill(command::Fill { seed }), FILL_PATIENCE)?;
    match reports.last() {
        Some(Report::Filled(report::Filled { errors: 0, .. })) => Ok(()),
        Some(Report::Filled(report::Filled { errors, .. })) => bail!(
            "{errors} blocks could not be written; last log line of the backend: {}",
            testbed.last_log_line()
        ),
        other => bail!("expected a report of the blocks written, got {other:?}"),
    }
}

/// Resizes a vSSD by the guest's picks and waits until the guest is at rest; returns also the
/// nanoseconds from the command until guest and host agreed.
pub fn resize_timed(
    testbed: &mut dyn Testbed,
    blocks: u32,
    at_most: Duration,
) -> Result<(Resized, u64)> {
    let options = ResizeOptions {
        pick: Pick::Guest,
        deadline: at_most,
        seed: 0,
    };
    let began = Instant::now();
    let resized = testbed.resize_to(blocks, options)?;
    let elapsed_ns = began.elapsed().as_nanos() as u64;
    testbed.guest().await_resized(blocks, at_most)?;
    Ok((resized, elapsed_ns))
}
