//! The machine of a twin's guest: a virtual clock, a channel in memory, and the point at which
//! the guest's thread waits for the experiment.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use guest_runtime::port::Machine;
use vssd_host::vssd::Vssd;
use workloads::Report;

use super::disk::{Sectors, TwinDisk};
use super::order::{Answer, Order, Stopped, Until};
use super::port::TwinPort;

/// Timer interval, the longest idle time of a guest, as on real machines.
const TIMER_NS: u64 = 10_000_000;

/// Panic payload that unwinds the guest's thread when the twin is dropped.
pub struct PowerOff;

pub struct TwinMachine {
    port: TwinPort,
    origin: Option<TwinDisk>,
    trace: Option<TwinDisk>,
    vssd: Arc<Vssd>,
    clock: Arc<AtomicU64>,
    inbox: Receiver<Order>,
    outbox: Sender<Answer>,
    order: Option<Order>,
    input: VecDeque<u8>,
    reports: Vec<Report>,
    /// Whether the guest was idle under the current order.
    was_idle: bool,
}

impl TwinMachine {
    pub(super) fn new(
        vssd: Arc<Vssd>,
        clock: Arc<AtomicU64>,
        [origin, trace]: [Option<Sectors>; 2],
        inbox: Receiver<Order>,
        outbox: Sender<Answer>,
    ) -> io::Result<Self> {
        let disk = |sectors: Option<Sectors>| {
            let disk = sectors.map(|sectors| TwinDisk::new(sectors, clock.clone()));
            disk.transpose()
        };
        Ok(Self {
            port: TwinPort::new(vssd.clone(), clock.clone())?,
            origin: disk(origin)?,
            trace: disk(trace)?,
            vssd,
            clock,
            inbox,
            outbox,
            order: None,
            input: VecDeque::new(),
            reports: Vec::new(),
            was_idle: false,
        })
    }

    /// Takes the reports since the last call.
    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// Why the guest must stop running under the current order, if it must.
    fn stopped(&mut self) -> Option<Stopped> {
        let now = self.clock.load(Ordering::Relaxed);
        let order = self.order.as_mut()?;
        let reached = match &mut order.until {
            Until::Reported => !self.reports.is_empty(),
            Until::Resized(id) => self.vssd.lock().finished(*id).is_some(),
            Until::Agreed => {
                let state = self.vssd.lock();
                state.device.has_session() && state.device.is_agreed()
            }
            Until::Polls(left) => {
                *left -= 1;
                *left == 0 || self.was_idle
            }
        };
        if reached {
            Some(Stopped::Reached)
        } else {
            (now >= order.deadline_ns).then_some(Stopped::TimedOut)
        }
    }

    /// Returns while the current order lets the guest run. Otherwise answers it and waits for
    /// the next.
    fn await_order(&mut self) {
        loop {
            if self.order.is_some() {
                let Some(stopped) = self.stopped() else {
                    return;
                };
                self.order = None;
                let answer = Answer {
                    reports: self.take_reports(),
                    stopped,
                };
                if self.outbox.send(answer).is_err() {
                    panic::resume_unwind(Box::new(PowerOff));
                }
            }
            match self.inbox.recv() {
                Ok(mut order) => {
                    self.input.extend(std::mem::take(&mut order.input));
                    self.order = Some(order);
                    self.was_idle = false;
                }
                Err(_) => panic::resume_unwind(Box::new(PowerOff)),
            }
        }
    }
}

impl Machine for TwinMachine {
    type Port = TwinPort;
    type Disk = TwinDisk;

    fn port(&mut self) -> &mut TwinPort {
        &mut self.port
    }

    fn origin(&mut self) -> Option<&mut TwinDisk> {
        self.origin.as_mut()
    }

    fn trace(&mut self) -> Option<&mut TwinDisk> {
        self.trace.as_mut()
    }

    fn now_ns(&mut self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Advances the clock to the device's next deadline or to the timer: no other event can
    /// occur while the guest is idle.
    fn idle(&mut self) {
        self.was_idle = true;
        let next = self.vssd.tick().map_or(TIMER_NS, |in_time| {
            u64::try_from(in_time.as_nanos()).unwrap_or(TIMER_NS)
        });
        self.clock
            .fetch_add(next.clamp(1, TIMER_NS), Ordering::Relaxed);
        self.vssd.tick();
    }

    fn read_channel(&mut self, out: &mut [u8]) -> usize {
        self.await_order();
        let len = out.len().min(self.input.len());
        for (byte, taken) in out.iter_mut().zip(self.input.drain(..len)) {
            *byte = taken;
        }
        len
    }

    fn write_channel(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).expect("reports are UTF-8");
        self.reports
            .push(Report::from_line(text.trim_end()).expect("the guest sends valid reports"));
    }

    fn has_own_channel(&self) -> bool {
        true
    }

    fn log(&mut self, _line: fmt::Arguments<'_>) {}
}
