//! The in-process twin: a guest and its vSSD without QEMU, with the same counts.
//!
//! Above the hardware a guest is `guest-runtime`, below the transport a vSSD is
//! `vssd-host`. The twin joins these very crates by queues in memory
//! ([`port`]), so there is nothing in it that could count differently. What it
//! has none of is time: its clock moves by a fixed amount with every request, and
//! to the next deadline when everybody waits ([`machine`]). So a run comes out
//! the same whatever the machine does meanwhile.
//!
//! The guest's main loop calls its machine and does not return before it ends,
//! so it has a thread of its own. Guest and experiment never run at the same
//! time: an [`Order`] says until what the guest is to run, and whoever gave it
//! waits for the [`Answer`].
//!
//! ```text
//!   experiment                      guest's thread
//!      │ Order { input, until }        │ waits in its machine
//!      ├──────────────────────────────▶│ runs: driver ─ port ─ device ─ medium
//!      │ waits                         │ … until a report, the end of a resize, …
//!      │◀──────────────────────────────┤
//!      │ Answer { reports, why }       │ waits
//! ```

mod disk;
mod machine;
mod order;
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
use vssd::units::Geometry;
use vssd::wire::Encoding;
use vssd_host::backing::{Backing, MemoryBacking, NullBacking};
use vssd_host::clock::Clock;
use vssd_host::control::protocol::{EncodingName, Resized, TrackerName, VssdStatus};
use vssd_host::control::server;
use vssd_host::notifier::Notifier;
use vssd_host::pool::Pool;
use vssd_host::pool::allocator::Bounds;
use vssd_host::spec::Overcommit;
use vssd_host::vssd::{Place, ResizeRequest, Target, Vssd};
use workloads::{Command, Report, report};

use crate::resources::check_memory;
use crate::testbed::{Disks, ResizeOptions, Talk, Testbed, Transport};
use disk::{Sectors, SparseDisk};
use machine::TwinMachine;
use order::{Answer, Order, Stopped, Until};

/// How much virtual time anything but a resize or a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks of the guest at its channel after a command was started, before the
/// experiment goes on: enough for a job to be under way.
const HEAD_START: u32 = 64;

/// A guest and its vSSD in this process.
pub struct Twin {
    vssd: Arc<Vssd>,
    clock: Arc<AtomicU64>,
    capacity: u32,
    origin: Option<Arc<SparseDisk>>,
    trace: Option<PathBuf>,
    /// `None` once the guest is to end.
    orders: Option<Sender<Order>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    reports: VecDeque<Report>,
    pending: Option<String>,
}

impl Twin {
    /// A guest that is ready for commands on a vSSD of which it holds every block.
    ///
    /// # Errors
    /// When the shape cannot be, or there is no memory for it, or the guest refuses.
    pub fn start(disks: impl Into<Disks>) -> Result<Self> {
        let Disks {
            vssd: shape,
            origin,
            trace,
        } = disks.into();
        let origin = origin
            .map(|origin| SparseDisk::new(origin.size).map(Arc::new))
            .transpose()?;
        let bytes = u32::try_from(shape.block_size.0).unwrap_or(0);
        let blocks = shape.size.0.checked_div(u64::from(bytes)).unwrap_or(0);
        let geometry = Geometry::new(bytes, blocks)?;
        check_memory(shape.written)?;
        let medium: Arc<dyn Backing> = match shape.written.0 {
            0 => Arc::new(NullBacking {
                len: geometry.capacity_bytes(),
            }),
            _ => Arc::new(
                MemoryBacking::new(geometry.capacity_bytes()).context("make a medium in memory")?,
            ),
        };
        let capacity = geometry.capacity();
        let pool = Pool::volatile(medium, bytes, Overcommit::NONE.0);
        let bounds = Bounds {
            quota: capacity,
            reservation: 0,
        };
        let volume = pool.add("twin", capacity, bounds, capacity)?;
        let clock = Arc::new(AtomicU64::new(0));
        let place = Place {
            name: "twin".to_owned(),
            socket: PathBuf::new(),
        };
        let vssd = Arc::new(Vssd::new(
            place,
            Arc::new(pool),
            volume,
            Encoding::Compact,
            1,
            vssd_host::vssd::Context {
                notifier: Arc::new(Notifier::default()),
                clock: Clock::Virtual(clock.clone()),
            },
        )?);
        Self::boot(vssd, clock, origin, trace)
    }

    /// Boots a guest on these disks.
    fn boot(
        vssd: Arc<Vssd>,
        clock: Arc<AtomicU64>,
        origin: Option<Arc<SparseDisk>>,
        trace: Option<PathBuf>,
    ) -> Result<Self> {
        vssd.set_connected(true);
        let disks = [
            origin.clone().map(Sectors::Sparse),
            trace.as_deref().map(Sectors::of_file).transpose()?,
        ];
        let (orders, inbox) = mpsc::channel();
        let (outbox, answers) = mpsc::channel();
        let machine = TwinMachine::new(vssd.clone(), clock.clone(), disks, inbox, outbox.clone())?;
        let thread = thread::Builder::new()
            .name("twin".to_owned())
            .spawn(move || live(machine, &outbox))
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
        match twin.hear(twin.until(PATIENCE), "boot")? {
            Report::Ready(_) => Ok(twin),
            Report::Failed(report::Failed { reason, .. }) => {
                bail!("the guest refused to run: {reason}")
            }
            other => bail!("the guest began with something unexpected: {other}"),
        }
    }

    /// Ends the guest wherever it stands, as if the power of its machine were gone, and
    /// boots another on the same disks.
    ///
    /// # Errors
    /// When the other refuses.
    pub fn kill_guest(mut self) -> Result<Self> {
        self.bury();
        self.vssd.set_connected(false);
        let trace = self.trace.take();
        Self::boot(
            self.vssd.clone(),
            self.clock.clone(),
            self.origin.clone(),
            trace,
        )
    }

    /// Lets the guest run.
    fn go(&mut self, input: Vec<u8>, until: Until, deadline_ns: u64, doing: &str) -> Result<()> {
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
            bail!("the guest died while asked to `{doing}`: {}", self.bury());
        };
        self.reports.extend(answer.reports);
        match answer.stopped {
            Stopped::Reached => Ok(()),
            // Its last words are there to be heard.
            Stopped::Ended(_) if !self.reports.is_empty() => Ok(()),
            Stopped::Ended(exit) => bail!("the guest ended with {exit:?} while asked to `{doing}`"),
            Stopped::TimedOut => bail!("the guest did not answer in time while asked to `{doing}`"),
        }
    }

    /// Waits for the end of the guest's thread; says what it died of.
    fn bury(&mut self) -> String {
        self.orders = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(payload)) => panic_message(payload.as_ref()),
            _ => "it had ended before".to_owned(),
        }
    }
}

/// The guest's whole life, on its own thread.
fn live(mut machine: TwinMachine, outbox: &Sender<Answer>) {
    let run = AssertUnwindSafe(|| guest_runtime::run(&mut machine, ""));
    match panic::catch_unwind(run) {
        Ok(exit) => {
            // Nobody listens when the twin has been dropped.
            let _ = outbox.send(Answer {
                reports: machine.take_reports(),
                stopped: Stopped::Ended(exit),
            });
        }
        Err(payload) if payload.is::<machine::Dismissed>() => {}
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
        // Without orders to come the guest's thread unwinds and ends.
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Talk for Twin {
    fn now_ns(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let until = self.until(PATIENCE);
        let input = format!("{line}\n").into_bytes();
        self.go(input, Until::Looks(HEAD_START), until, line)
    }

    fn hear(&mut self, until_ns: u64, doing: &str) -> Result<Report> {
        if self.reports.is_empty() {
            self.go(Vec::new(), Until::Reported, until_ns, doing)?;
        }
        self.reports.pop_front().context("the guest said nothing")
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

    fn guest(&mut self) -> &mut dyn Talk {
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
        // Past its deadline a resize ends by itself.
        let until = self.until(options.deadline + PATIENCE);
        self.go(Vec::new(), Until::Resized(id), until, "follow a resize")?;
        let state = self.vssd.lock();
        let finished = state.finished(id).context("the resize has not ended")?;
        Ok(server::resized(finished))
    }

    fn status(&mut self) -> Result<VssdStatus> {
        Ok(server::status(&self.vssd, Instant::now()))
    }

    fn set_encoding(&mut self, encoding: EncodingName) -> Result<()> {
        self.vssd.set_encoding(encoding.into());
        let until = self.until(PATIENCE);
        self.go(Vec::new(), Until::Agreed, until, "start a new session")
    }

    fn observe(&mut self, observer: TrackerName) -> Result<()> {
        self.vssd.track(observer.into());
        Ok(())
    }

    fn last_words(&self) -> String {
        "nothing: it runs in this process".to_owned()
    }

    fn shut_down(mut self: Box<Self>) -> Result<()> {
        self.start(&Command::Exit)?;
        let reports = self.finish(PATIENCE)?;
        ensure!(reports.is_empty(), "the guest ended with {reports:?}");
        self.bury();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
