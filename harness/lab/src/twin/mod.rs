//! The in-process twin: a guest and its vSSD without QEMU, with the same counts.
//!
//! Above the hardware a guest is `guest-runtime`; below the transport a vSSD is `vssd-host`. The
//! twin connects these same crates by queues in memory ([`port`]), so that it counts as they
//! do. Its clock is virtual: it advances by a fixed amount with each request, and to the next
//! deadline when all are idle ([`machine`]). So runs are deterministic.
//!
//! The guest's main loop calls its machine and returns only when the guest exits, so it has its
//! own thread. Guest and experiment never run at the same time: an [`Order`] states how long the
//! guest may run, and the experiment waits for the [`Answer`].
//!
//! ```text
//!   experiment                      guest's thread
//!      │ Order { input, until }        │ blocked in its machine
//!      ├──────────────────────────────▶│ runs: driver ─ port ─ device ─ medium
//!      │ blocked                       │ … until a report, the end of a resize, …
//!      │◀──────────────────────────────┤
//!      │ Answer { reports, why }       │ blocked
//! ```

mod buffers;
mod disk;
mod machine;
mod order;
mod pool;
mod port;

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use terminal::interrupt;
use vssd::advice::Advice;
use vssd_host::control::protocol::{DemandStatus, EncodingName, Resized, VssdStatus};
use vssd_host::control::report as reported;
use vssd_host::vssd::{ResizeRequest, Target, Vssd};
use workloads::{Command, HostPick, Report, report};

use crate::testbed::{Disks, GuestChannel, ResizeOptions, Testbed, Transport};
use disk::Sectors;
use machine::TwinMachine;
use order::{Answer, Order, Stopped, Until};
pub use pool::TwinPool;

/// Timeout of anything except resizes and commands, in virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the guest polls its channel after a command was started, before the experiment
/// continues: enough for a job to have started.
const HEAD_START: u32 = 64;

/// A guest and its vSSD in this process.
pub struct Twin {
    vssd: Arc<Vssd>,
    clock: Arc<AtomicU64>,
    capacity: u32,
    origin: Option<Sectors>,
    trace: Option<PathBuf>,
    /// `None` once the guest must exit.
    orders: Option<Sender<Order>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    reports: VecDeque<Report>,
    pending: Option<String>,
}

impl Twin {
    /// Boots a guest on a vSSD of which it holds all blocks.
    ///
    /// # Errors
    /// When the shape is invalid, memory is short, or the guest cannot run.
    pub fn start(disks: impl Into<Disks>) -> Result<Self> {
        let disks = disks.into();
        let pool = TwinPool::new(disks.vssd)?;
        let blocks = disks.vssd.size.0 / disks.vssd.block_size.0;
        pool.boot("twin", &disks, u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// Boots a guest on these disks.
    fn boot(
        vssd: Arc<Vssd>,
        clock: Arc<AtomicU64>,
        origin: Option<Sectors>,
        trace: Option<PathBuf>,
    ) -> Result<Self> {
        vssd.set_connected(true);
        let disks = [
            origin.clone(),
            trace.as_deref().map(Sectors::of_file).transpose()?,
        ];
        let (orders, inbox) = mpsc::channel();
        let (outbox, answers) = mpsc::channel();
        let machine = TwinMachine::new(vssd.clone(), clock.clone(), disks, inbox, outbox.clone())?;
        let thread = thread::Builder::new()
            .name("twin".to_owned())
            .spawn(move || run_guest(machine, &outbox))
            .context("start the guest's thread")?;
        let mut twin = Self {
            capacity: vssd.geometry.capacity(),
            vssd,
            clock,
            origin,
            trace,
            orders: Some(orders),
            answers,
            thread: Some(thread),
            reports: VecDeque::new(),
            pending: None,
        };
        match twin.next_report(twin.until(PATIENCE), "boot")? {
            Report::Ready(_) => Ok(twin),
            Report::Failed(report::Failed { reason, .. }) => {
                bail!("the guest cannot run: {reason}")
            }
            other => bail!("expected the guest's ready report, got `{other}`"),
        }
    }

    /// Blocks that the guest holds.
    pub fn held(&self) -> u32 {
        self.vssd.lock().device.granted().len()
    }

    /// Stops the guest at once, like a power failure, and boots another on the same disks.
    ///
    /// # Errors
    /// When the other cannot run.
    pub fn kill_guest(mut self) -> Result<Self> {
        self.join_thread();
        self.vssd.set_connected(false);
        let trace = self.trace.take();
        Self::boot(
            self.vssd.clone(),
            self.clock.clone(),
            self.origin.clone(),
            trace,
        )
    }

    /// Runs the guest until the condition `until`.
    fn run_until(
        &mut self,
        input: Vec<u8>,
        until: Until,
        deadline_ns: u64,
        doing: &str,
    ) -> Result<()> {
        interrupt::check()?;
        let order = Order {
            input,
            until,
            deadline_ns,
        };
        let answer = self
            .orders
            .as_ref()
            .and_then(|orders| orders.send(order).ok())
            .and_then(|()| self.answers.recv().ok());
        let Some(answer) = answer else {
            bail!("the guest died during `{doing}`: {}", self.join_thread());
        };
        self.reports.extend(answer.reports);
        match answer.stopped {
            Stopped::Reached => Ok(()),
            // Its last reports are still to be read.
            Stopped::Exited(_) if !self.reports.is_empty() => Ok(()),
            Stopped::Exited(exit) => bail!("the guest exited with {exit:?} during `{doing}`"),
            Stopped::TimedOut => bail!("the guest timed out during `{doing}`"),
        }
    }

    /// Ends the guest's thread and waits for it; returns the message of its panic.
    fn join_thread(&mut self) -> String {
        // Without an order the thread unwinds.
        self.orders = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(payload)) => panic_message(payload.as_ref()),
            _ => "it had exited before".to_owned(),
        }
    }
}

/// The main function of the guest's thread.
fn run_guest(mut machine: TwinMachine, outbox: &Sender<Answer>) {
    let run = AssertUnwindSafe(|| guest_runtime::run(&mut machine, ""));
    match panic::catch_unwind(run) {
        Ok(exit) => {
            // The receiver is gone once the twin is dropped.
            let _ = outbox.send(Answer {
                reports: machine.take_reports(),
                stopped: Stopped::Exited(exit),
            });
        }
        Err(payload) if payload.is::<machine::PowerOff>() => {}
        Err(payload) => panic::resume_unwind(payload),
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.join_thread();
    }
}

impl GuestChannel for Twin {
    fn now_ns(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn send_line(&mut self, line: &str) -> Result<()> {
        let until = self.until(PATIENCE);
        let input = format!("{line}\n").into_bytes();
        self.run_until(input, Until::Polls(HEAD_START), until, line)
    }

    fn next_report(&mut self, until_ns: u64, doing: &str) -> Result<Report> {
        if self.reports.is_empty() {
            self.run_until(Vec::new(), Until::Reported, until_ns, doing)?;
        }
        self.reports.pop_front().context("the guest sent no report")
    }

    fn pending(&mut self) -> &mut Option<String> {
        &mut self.pending
    }
}

impl Testbed for Twin {
    fn transport(&self) -> Transport {
        Transport::Twin
    }

    fn capacity(&self) -> u32 {
        self.capacity
    }

    fn guest(&mut self) -> &mut dyn GuestChannel {
        self
    }

    fn resize_to(&mut self, blocks: u32, options: ResizeOptions) -> Result<Resized> {
        let id = self.vssd.resize(ResizeRequest {
            target: Target::To(blocks.into()),
            pick: options.pick,
            deadline: Some(options.deadline),
            revoke: true,
            force: false,
            seed: Some(options.seed),
        })?;
        // The device ends a resize at its deadline.
        let until = self.until(options.deadline + PATIENCE);
        self.run_until(Vec::new(), Until::Resized(id), until, "resize")?;
        let state = self.vssd.lock();
        let finished = state
            .finished(id)
            .with_context(|| format!("resize {id} has not finished"))?;
        Ok(reported::resized(finished))
    }

    fn status(&mut self) -> Result<VssdStatus> {
        Ok(reported::status(&self.vssd, Instant::now()))
    }

    fn set_encoding(&mut self, encoding: EncodingName) -> Result<()> {
        self.vssd.set_encoding(encoding.into());
        let until = self.until(PATIENCE);
        self.run_until(Vec::new(), Until::Agreed, until, "start a new session")
    }

    fn observe(&mut self, pick: HostPick) -> Result<()> {
        Ok(self.vssd.track(Some(pick))?)
    }

    fn advise(&mut self, advice: Advice) -> Result<()> {
        self.vssd.advise(advice);
        Ok(())
    }

    fn demand(&mut self) -> Result<Option<DemandStatus>> {
        let before = self.vssd.request_report();
        // The guest answers the device before it answers this.
        self.run(&Command::Info, PATIENCE)?;
        let demand = self.vssd.report_after(before).flatten();
        Ok(demand.as_ref().map(DemandStatus::from))
    }

    fn last_log_line(&self) -> String {
        "(a twin has no log)".to_owned()
    }

    fn shut_down(mut self: Box<Self>) -> Result<()> {
        self.start(&Command::Exit)?;
        let reports = self.finish(PATIENCE)?;
        ensure!(
            reports.is_empty(),
            "unexpected reports at the guest's exit: {reports:?}"
        );
        self.join_thread();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
