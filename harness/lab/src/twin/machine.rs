//! The machine of a twin's guest: a clock that others move, a channel in
//! memory, and the place where the guest waits for the experiment.

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

/// The longest rest of a guest, as on real machines.
const TIMER_NS: u64 = 10_000_000;

/// What the guest's thread unwinds with when no more orders come.
pub struct Dismissed;

/// See the module.
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
    /// Whether the guest had nothing to do under the present order.
    rested: bool,
}

impl TwinMachine {
    pub(super) fn new(
        vssd: Arc<Vssd>,
        clock: Arc<AtomicU64>,
        [origin, trace]: [Option<Sectors>; 2],
        inbox: Receiver<Order>,
        outbox: Sender<Answer>,
    ) -> io::Result<Self> {
        Ok(Self {
            port: TwinPort::new(vssd.clone(), clock.clone())?,
            origin: origin.map(|sectors| TwinDisk::new(sectors, clock.clone())),
            trace: trace.map(|sectors| TwinDisk::new(sectors, clock.clone())),
            vssd,
            clock,
            inbox,
            outbox,
            order: None,
            input: VecDeque::new(),
            reports: Vec::new(),
            rested: false,
        })
    }

    /// What the guest has reported and was not taken yet.
    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// Whether the guest may not run on under its present order.
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
            Until::Looks(left) => {
                *left -= 1;
                *left == 0 || self.rested
            }
        };
        match reached {
            true => Some(Stopped::Reached),
            false => (now >= order.deadline_ns).then_some(Stopped::TimedOut),
        }
    }

    /// Goes on only under an order whose end has not come. Returns at once
    /// while there is one.
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
                    panic::resume_unwind(Box::new(Dismissed));
                }
            }
            match self.inbox.recv() {
                Ok(mut order) => {
                    self.input.extend(std::mem::take(&mut order.input));
                    self.order = Some(order);
                    self.rested = false;
                }
                Err(_) => panic::resume_unwind(Box::new(Dismissed)),
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

    /// Nothing can happen by itself but a deadline of the device or the timer.
    fn idle(&mut self) {
        self.rested = true;
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
        let text = std::str::from_utf8(bytes).expect("reports are text");
        self.reports
            .push(Report::from_line(text.trim_end()).expect("the guest sends reports"));
    }

    fn has_own_channel(&self) -> bool {
        true
    }

    fn log(&mut self, _line: fmt::Arguments<'_>) {}
}
