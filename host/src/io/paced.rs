//! An engine whose transfers take as long as on an emulated medium.
//!
//! A transfer is reported as ended when that of the inner engine has ended and the time of the
//! [`MediaModel`] is reached, whichever comes last. All engines of a pool share one model.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smallvec::SmallVec;
use vm_memory::VolatileSlice;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

use super::{Direction, Engine};
use crate::emulation::{MediaModel, Wear};

/// Shorter waits spin on the clock: sleeping and waking up takes about as long.
const SPIN: Duration = Duration::from_micros(20);

/// The source of an event of `either`.
const TIMER: u64 = 0;
const OTHER: u64 = 1;

/// A model and the time at which it began.
pub struct Pace {
    began: Instant,
    model: Mutex<MediaModel>,
}

impl Pace {
    /// Begins now.
    pub fn new(model: MediaModel) -> Self {
        Self {
            began: Instant::now(),
            model: Mutex::new(model),
        }
    }

    fn start(&self, direction: Direction, offset: u64, len: u64) -> Instant {
        // Locked first: the model's times shall not decrease.
        let mut model = self.model.lock();
        let now_ns = self.began.elapsed().as_nanos() as u64;
        let done_ns = model.start(now_ns, direction, offset, len);
        self.began + Duration::from_nanos(done_ns)
    }

    /// What writing has done to the emulated medium.
    pub fn wear(&self) -> Wear {
        let model = self.model.lock();
        model.wear()
    }
}

/// See the module.
pub struct Paced {
    inner: Box<dyn Engine>,
    pace: Arc<Pace>,
    next: u64,
    /// With the inner engine, by number: the caller's token, and when it may end.
    moving: BTreeMap<u64, (u64, Instant)>,
    /// Transfers that have ended there, by when they may end here.
    held: BTreeMap<(Instant, u64), (u64, io::Result<()>)>,
    timer: TimerFd,
    /// When the timer is due.
    alarm: Option<Instant>,
    /// Readable when the timer or the watched descriptor is.
    either: Epoll,
}

impl Paced {
    /// `inner`, paced by `pace`.
    ///
    /// # Errors
    /// When the system has no timer or no epoll instance to give.
    pub fn new(mut inner: Box<dyn Engine>, pace: Arc<Pace>) -> io::Result<Self> {
        let timer = TimerFd::new()?;
        let either = Epoll::new()?;
        let event = EpollEvent::new(EventSet::IN, TIMER);
        either.ctl(ControlOperation::Add, timer.as_raw_fd(), event)?;
        inner.watch(either.as_raw_fd())?;
        Ok(Self {
            inner,
            pace,
            next: 0,
            moving: BTreeMap::new(),
            held: BTreeMap::new(),
            timer,
            alarm: None,
            either,
        })
    }

    /// When the first of the transfers that the inner engine has done may end.
    fn collect(&mut self) -> Option<Instant> {
        while let Some((number, result)) = self.inner.ended() {
            if let Some((token, due)) = self.moving.remove(&number) {
                self.held.insert((due, number), (token, result));
            }
        }
        self.held.keys().next().map(|(due, _)| *due)
    }

    /// Sets the timer, which is readable from then on until it is set again.
    fn set_alarm(&mut self, due: Option<Instant>) {
        if self.alarm == due {
            return;
        }
        let set = match due {
            // Zero would disarm the timer.
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now());
                self.timer.reset(left.max(Duration::from_nanos(1)), None)
            }
            None => self.timer.clear(),
        };
        match set {
            Ok(()) => self.alarm = due,
            Err(error) => tracing::error!(%error, "cannot set the timer of the emulated medium"),
        }
    }
}

impl Engine for Paced {
    fn room(&self) -> usize {
        self.inner.room()
    }

    #[allow(unsafe_code)]
    unsafe fn submit(
        &mut self,
        token: u64,
        direction: Direction,
        offset: u64,
        buffers: &mut dyn Iterator<Item = VolatileSlice<'_>>,
    ) {
        let buffers: SmallVec<[VolatileSlice<'_>; 4]> = buffers.collect();
        let len = buffers.iter().map(|slice| slice.len() as u64).sum();
        let due = self.pace.start(direction, offset, len);
        let number = self.next;
        self.next += 1;
        self.moving.insert(number, (token, due));
        // SAFETY: the caller keeps the buffers until the transfer has ended here, which is not earlier than there.
        unsafe {
            self.inner
                .submit(number, direction, offset, &mut buffers.into_iter());
        }
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn kick(&mut self) {
        self.inner.kick();
        let due = self.collect();
        self.set_alarm(due);
    }

    fn ended(&mut self) -> Option<(u64, io::Result<()>)> {
        let due = self.collect();
        if due.is_none_or(|due| due > Instant::now() + SPIN) {
            self.set_alarm(due);
            return None;
        }
        while due.is_some_and(|due| due > Instant::now()) {
            std::hint::spin_loop();
        }
        self.held.pop_first().map(|(_, ended)| ended)
    }

    fn wait(&mut self) {
        let mut due = self.collect();
        if due.is_none() {
            self.inner.wait();
            due = self.collect();
        }
        if let Some(due) = due {
            thread::sleep(due.saturating_duration_since(Instant::now() + SPIN));
        }
    }

    fn watch(&mut self, other: RawFd) -> io::Result<()> {
        let event = EpollEvent::new(EventSet::IN, OTHER);
        self.either.ctl(ControlOperation::Add, other, event)
    }

    fn park(&mut self) -> bool {
        loop {
            let due = self.collect();
            if due.is_some_and(|due| due <= Instant::now() + SPIN) {
                return true;
            }
            self.set_alarm(due);
            if self.inner.park() {
                continue;
            }
            let mut events = [EpollEvent::default(); 2];
            // Interrupted or not, the caller looks again.
            let ready = self.either.wait(-1, &mut events).unwrap_or(0);
            if events[..ready].iter().any(|event| event.data() == OTHER) {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backing::MemoryBacking;
    use crate::emulation::MediaKind;
    use crate::io::immediate::Immediate;
    use vmm_sys_util::eventfd::EventFd;

    #[test]
    #[allow(unsafe_code)]
    fn nothing_ends_before_its_time_and_a_parked_thread_is_woken() {
        let backing = Arc::new(MemoryBacking::new(1 << 20).unwrap());
        let model = MediaModel::new(MediaKind::Hdd, 1 << 20).unwrap();
        let pace = Arc::new(Pace::new(model));
        let mut engine = Paced::new(Box::new(Immediate::new(backing)), pace.clone()).unwrap();
        let began = Instant::now();
        let mut buffer = [1u8; 512];
        for token in [7, 8] {
            let slice = VolatileSlice::from(&mut buffer[..]);
            // SAFETY: the buffer lives to the end of the test.
            unsafe { engine.submit(token, Direction::Write, 0, &mut [slice].into_iter()) };
        }
        let notifier = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        engine.watch(notifier.as_raw_fd()).unwrap();
        notifier.write(1).unwrap();
        assert!(!engine.park() || began.elapsed() >= Duration::from_millis(5));
        notifier.read().unwrap();
        for (count, token) in [(1, 7), (2, 8)] {
            while !engine.park() {}
            let (ended, result) = engine.ended().unwrap();
            assert_eq!((ended, result.is_ok()), (token, true));
            assert!(began.elapsed() >= count * Duration::from_millis(5));
        }
        assert_eq!(pace.wear().host_bytes, 1024);
    }
}
