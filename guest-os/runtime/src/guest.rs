//! The guest's main loop: commands in, jobs run, resizes followed, reports out.

mod commands;
mod jobs;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use vssd::driver::Fault;
use vssd::units::Geometry;
use workloads::{Command, Report, report};

use crate::app::App;
use crate::cached::{OpenCache, Writes};
use crate::channel::Lines;
use crate::disk::{BlockRequest, Completion};
use crate::hardware::{Hardware, Shared};
use crate::port::{BlkOp, BlkPort, Exit, Machine};
use crate::shape::{Shape, why_fixed};
use crate::tasks::poll_once;

/// A guest at work.
pub struct Guest<'m, M: Machine> {
    pub(crate) hardware: Shared<'m, M>,
    shape: Shape,
    pub(crate) geometry: Geometry,
    pub(crate) app: App,
    lines: Lines,
    /// Commands that wait, for futures to see.
    pub(crate) waiting: Rc<Cell<usize>>,
    pub(crate) cache: Option<OpenCache<'m, M>>,
    /// Those behind this cache and the ones before it.
    pub(crate) writes: Rc<RefCell<Writes>>,
}

/// Polls without progress before a loop that polls futures idles: a future may have completed what
/// one that was polled before it waits for.
const POLLS_BEFORE_IDLE: u32 = 2;

impl<'m, M: Machine> Guest<'m, M> {
    /// A guest on a disk of this shape, before its first exchange.
    pub fn new(machine: &'m mut M, shape: Shape) -> Self {
        let geometry = shape.geometry;
        Self {
            hardware: Rc::new(RefCell::new(Hardware::new(machine, shape))),
            shape,
            geometry,
            app: App::new(geometry.capacity()),
            lines: Lines::default(),
            waiting: Rc::default(),
            cache: None,
            writes: Rc::default(),
        }
    }

    /// Carries out `script` and then what arrives on the channel.
    pub fn run(mut self, script: &str) -> Exit {
        self.lines.push_script(script);
        match self.serve() {
            Ok(exit) => exit,
            Err(fault) => {
                let reason =
                    format!("too many faults of the device in a row; the last one: {fault}");
                self.report(&Report::Failed(report::Failed {
                    command: String::new(),
                    reason,
                }));
                Exit::Failure
            }
        }
    }

    fn serve(&mut self) -> Result<Exit, Fault> {
        self.settle()?;
        let first_io_ns = self.first_io()?;
        // Only these end the guest if they fail: after a typed command the guest goes on.
        let mut scripted = self.lines.waiting();
        let held = self.hardware.borrow().disk.driver().held().len();
        self.report(&Report::Ready(report::Ready {
            version: env!("CARGO_PKG_VERSION").to_string(),
            disk: self.shape.kind,
            block_size: self.geometry.block_size(),
            capacity: self.geometry.capacity(),
            held,
            first_io_ns,
        }));
        if let Some(why) = why_fixed(self.shape.kind) {
            self.hardware
                .borrow_mut()
                .machine
                .log(format_args!("{why}"));
        }
        let has_own_channel = self.hardware.borrow().machine.has_own_channel();
        if scripted == 0 && !has_own_channel {
            self.hardware.borrow_mut().machine.log(format_args!(
                "type commands: info, fill, verify, read, cache, replay, exit, …"
            ));
        }
        loop {
            while let Some(line) = self.lines.pop() {
                self.waiting.set(self.lines.waiting());
                let of_script = scripted > 0;
                scripted = scripted.saturating_sub(1);
                let started = self.now_ns();
                match line.parse::<Command>() {
                    Ok(Command::Exit) => {
                        self.flush_cache()?;
                        self.done(line, started);
                        return Ok(Exit::Success);
                    }
                    Ok(command) => match self.carry_out(command)? {
                        Ok(()) => self.done(line, started),
                        Err(reason) => {
                            self.report(&Report::Failed(report::Failed {
                                command: line,
                                reason,
                            }));
                            if of_script && !has_own_channel {
                                return Ok(Exit::Failure);
                            }
                        }
                    },
                    Err(error) => self.report(&Report::Failed(report::Failed {
                        command: line,
                        reason: error.to_string(),
                    })),
                }
            }
            self.poll_or_idle()?;
        }
    }

    /// Polls, and idles if nothing has happened.
    fn poll_or_idle(&mut self) -> Result<(), Fault> {
        let mut idle_polls = 0;
        while !self.poll()? {
            idle_polls += 1;
            if self.cache.is_none() || idle_polls > POLLS_BEFORE_IDLE {
                self.hardware.borrow_mut().machine.idle();
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.hardware.borrow_mut().machine.now_ns()
    }

    fn done(&mut self, command: String, started_ns: u64) {
        let elapsed_ns = self.now_ns() - started_ns;
        self.report(&Report::Done(report::Done {
            command,
            elapsed_ns,
        }));
    }

    /// Reads the first held block: how long a guest takes to its first I/O.
    /// Returns 0 when it holds none.
    fn first_io(&mut self) -> Result<u64, Fault> {
        {
            let hw = &mut *self.hardware.borrow_mut();
            let Some(first) = hw.disk.driver().held().next_in(0) else {
                return Ok(0);
            };
            let request = BlockRequest {
                op: BlkOp::Read,
                first,
                count: 1,
            };
            hw.disk.submit(hw.machine, request);
            hw.machine.port().kick();
        }
        while self.completion().is_none() {
            self.poll_or_idle()?;
        }
        Ok(self.now_ns())
    }

    fn completion(&mut self) -> Option<Completion> {
        let hw = &mut *self.hardware.borrow_mut();
        hw.disk.completion(hw.machine)
    }

    /// Waits until the list is attached and no change is requested.
    pub(crate) fn settle(&mut self) -> Result<(), Fault> {
        loop {
            let progressed = self.poll()?;
            let hw = &mut *self.hardware.borrow_mut();
            if hw.disk.driver().is_quiet() {
                return Ok(());
            }
            if !progressed {
                hw.machine.idle();
            }
        }
    }

    /// Polls a future until it ends, together with all other work.
    pub(crate) fn block_on<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Fault> {
        let mut future = pin!(future);
        let mut idle_polls = 0;
        loop {
            let mut progressed = self.poll()?;
            let before = {
                let hw = &mut *self.hardware.borrow_mut();
                let before = hw.steps();
                hw.arrivals();
                before
            };
            let polled = poll_once(future.as_mut());
            let hw = &mut *self.hardware.borrow_mut();
            hw.kick();
            if let Poll::Ready(result) = polled {
                return Ok(result);
            }
            progressed |= hw.steps() > before;
            idle_polls = if progressed { 0 } else { idle_polls + 1 };
            if idle_polls > POLLS_BEFORE_IDLE {
                hw.machine.idle();
                idle_polls = 0;
            }
        }
    }

    /// Waits until the requests of dropped futures have ended.
    pub(crate) fn await_idle(&mut self) -> Result<(), Fault> {
        let hardware = Rc::clone(&self.hardware);
        self.block_on(poll_fn(|_| {
            if hardware.borrow().is_idle() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    /// Polls everything besides the I/O of jobs once. Returns true on progress.
    fn poll(&mut self) -> Result<bool, Fault> {
        let mut progressed = {
            let hw = &mut *self.hardware.borrow_mut();
            let (mut progressed, dirty_lost) = match &mut self.cache {
                Some(cache) => cache.pump(hw, &mut self.app)?,
                None => (hw.disk.pump(hw.machine, &mut self.app)?, None),
            };
            if let Some(report) = dirty_lost {
                send_report(hw.machine, &report);
            }
            progressed |= self.lines.poll(hw.machine);
            self.waiting.set(self.lines.waiting());
            let driver = hw.disk.driver();
            if driver.is_quiet()
                && let Some(report) = self.app.take_resized(driver.held().len())
            {
                send_report(hw.machine, &report);
            }
            progressed
        };
        if let Some(cache) = &mut self.cache {
            let (before, now_ns) = {
                let hw = &mut *self.hardware.borrow_mut();
                let before = hw.steps();
                hw.arrivals();
                (before, hw.machine.now_ns())
            };
            cache.work(now_ns);
            let hw = &mut *self.hardware.borrow_mut();
            hw.kick();
            progressed |= hw.steps() > before;
        }
        Ok(progressed)
    }

    pub(crate) fn report(&mut self, report: &Report) {
        send_report(self.hardware.borrow_mut().machine, report);
    }
}

/// Sends a report: as JSON on a channel of its own, as a sentence on the serial console.
pub fn send_report(machine: &mut impl Machine, report: &Report) {
    if machine.has_own_channel() {
        let mut line: Vec<u8> = report.to_line().into_bytes();
        line.push(b'\n');
        machine.write_channel(&line);
    }
    // Frequent reports, and those during a measurement, are not printed on the serial console as
    // well, which is slow.
    let is_bulk = matches!(
        report,
        Report::Counts(_) | Report::Resized(_) | Report::CacheSample(_) | Report::Stamps(_)
    );
    if !machine.has_own_channel() || !is_bulk {
        machine.log(format_args!("{report}"));
    }
}
