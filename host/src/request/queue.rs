//! The requests under way of one vSSD.
//!
//! Requests are pushed in the order in which the guest made them available, move
//! their data in any order, and are popped in the first order again: a frontend that
//! reconnects replays everything after the last one it was told of.
//!
//! ```text
//!  push ─▶ Parked ──▶ Moving ──▶ Recording ──▶ Ended ─▶ pop
//!            │ waits for requests   │ waits until the pool's log has what it
//!            │ to the same blocks   │ changed: a first write, a discard, a flush
//! ```
//!
//! Whether the guest may use the blocks is checked once, when a request is pushed:
//! who takes blocks from the volume waits for the requests that were checked before
//! ([`turns`](crate::pool::turns)). A request that gives blocks places or takes their
//! places away has them for itself, as do the few that a medium cannot take as they are.

use std::collections::VecDeque;
use std::io;
use std::sync::MutexGuard;

use smallvec::SmallVec;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP,
};
use vssd::block_set::spans;
use vssd::error::Reject;
use vssd::units::SECTOR_SIZE;

use super::chain::{Buffers, Chain, MemoryGuard};
use super::parse::{Op, Request, parse};
use super::slow::Bounce;
use crate::io::{Direction, Engine};
use crate::latency::Activity;
use crate::medium::Alignment;
use crate::pool::ledger::Denied;
use crate::pool::volume::Extent;
use crate::pool::{Subscription, Ticket};
use crate::vssd::{Stats, Vssd};

/// The token of transfers that are waited for at once.
pub(super) const SLOW: u64 = u64::MAX;

/// A request that has ended, for the used ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Head of its chain.
    pub head: u16,
    /// Bytes written to its buffers.
    pub len: u32,
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Others have its blocks.
    Parked,
    /// Blocks from `next` on are still to be submitted, when there is room or, given
    /// a ticket, when places are free again.
    Moving { next: u32, places: Option<Ticket> },
    /// What it changed is on its way to the log.
    Recording(Ticket),
    /// Its status is known.
    Ended { status: u32, len: u32 },
}

/// A request under way.
pub(super) struct Slot {
    head: u16,
    pub(super) request: Request,
    /// Its blocks.
    pub(super) first: u32,
    pub(super) count: u32,
    /// What is read or written.
    pub(super) data: Buffers<'static>,
    status: Buffers<'static>,
    /// Keeps the buffers mapped.
    _memory: Option<MemoryGuard>,
    step: Step,
    /// Transfers in flight.
    transfers: u32,
    /// A transfer failed.
    pub(super) failure: Option<io::Error>,
    /// Nobody else may be at work on its blocks.
    exclusive: bool,
    /// Places for first writes that are in flight.
    fresh: SmallVec<[Extent; 1]>,
    /// What it changed is to be recorded.
    pub(super) changed: bool,
    began_ns: u64,
}

// SAFETY: the pointers in a slot are to buffers that are valid whatever thread
// uses them, by the contract of `Turn::push`.
#[allow(unsafe_code)]
unsafe impl Send for Slot {}

impl Slot {
    fn overlaps(&self, other: &Self) -> bool {
        self.first < other.first + other.count && other.first < self.first + self.count
    }

    fn is_moving(&self) -> bool {
        matches!(self.step, Step::Moving { .. })
    }

    /// Where the bytes of `blocks` (first and count) lie in its data: the
    /// bytes before them, and their number. Ranges in bytes of the device.
    pub(super) fn clip(&self, (first, count): (u32, u32), block_size: u32) -> Clip {
        let block_size = u64::from(block_size);
        let begin = self.request.sector * u64::from(SECTOR_SIZE);
        let end = begin + self.request.bytes;
        let first = u64::from(first) * block_size;
        let from = first.max(begin);
        let to = (first + u64::from(count) * block_size).min(end);
        Clip {
            skip: (from - begin) as usize,
            len: (to - from) as usize,
            within: from - first,
        }
    }
}

/// The part of some blocks that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clip {
    /// Bytes of the request before it.
    pub(super) skip: usize,
    /// Its bytes.
    pub(super) len: usize,
    /// Bytes of the blocks before it.
    pub(super) within: u64,
}

/// See the module.
pub struct RequestQueue {
    pub(super) engine: Box<dyn Engine>,
    alignment: Alignment,
    slots: VecDeque<Slot>,
    /// The token of the first slot.
    base: u64,
    /// Slots that are parked.
    parked: usize,
    /// Slots that move and have blocks for themselves.
    exclusive: usize,
    /// Slots that wait for room in the engine or for places.
    stalled: usize,
    /// Slots that wait for the log.
    recording: usize,
    commits: Subscription,
    pub(super) bounce: Bounce,
    service_ns: u64,
}

impl RequestQueue {
    /// An empty queue for `vssd`.
    ///
    /// # Errors
    /// When the system does not provide what the engine needs.
    pub fn new(vssd: &Vssd) -> io::Result<Self> {
        let alignment = vssd.pool.alignment();
        Ok(Self {
            engine: vssd.pool.engine()?,
            alignment,
            slots: VecDeque::new(),
            base: 0,
            parked: 0,
            exclusive: 0,
            stalled: 0,
            recording: 0,
            commits: vssd.pool.subscribe()?,
            bounce: Bounce::new(vssd.geometry.block_size(), alignment),
            service_ns: 0,
        })
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How long a request takes here, on average of the last ones, nanoseconds.
    pub fn service_ns(&self) -> u64 {
        self.service_ns
    }

    /// Whether a transfer has ended.
    pub fn has_ended(&mut self) -> bool {
        self.engine.has_ended()
    }

    /// True when no request is under way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What becomes readable when transfers have ended.
    pub fn engine_event(&self) -> Option<std::os::fd::RawFd> {
        self.engine.event()
    }

    /// What tells of commits.
    pub fn commits(&self) -> &Subscription {
        &self.commits
    }

    /// Waits until something has happened that may end a request.
    pub fn wait(&mut self, vssd: &Vssd) {
        if self.slots.iter().any(|slot| slot.transfers > 0) {
            self.engine.kick();
            self.engine.wait();
            return;
        }
        let waits = self.slots.iter().find_map(|slot| match slot.step {
            Step::Recording(ticket) => Some(ticket),
            Step::Moving { places, .. } => places,
            _ => None,
        });
        if let Some(ticket) = waits {
            // How it went is for whoever holds the ticket.
            let _ = vssd.pool.wait(ticket);
        }
    }
}

impl Drop for RequestQueue {
    fn drop(&mut self) {
        debug_assert!(self.slots.is_empty(), "dropped with requests under way");
    }
}

/// A turn of the queue: see [`turns`](crate::pool::turns). It ends by being dropped.
pub struct Turn<'a> {
    pub(super) vssd: &'a Vssd,
    pub(super) queue: &'a mut RequestQueue,
    pub(super) stats: MutexGuard<'a, Stats>,
    activity: Activity,
    now_ns: u64,
    begun: u64,
    ended: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.vssd.volume.turns().end(self.begun, self.ended);
    }
}

impl<'a> Turn<'a> {
    /// Begins a turn.
    pub fn begin(vssd: &'a Vssd, queue: &'a mut RequestQueue) -> Self {
        vssd.volume.turns().begin();
        Self {
            vssd,
            queue,
            stats: vssd.stats(),
            activity: vssd.activity(),
            now_ns: vssd.now_ns(),
            begun: 0,
            ended: 0,
        }
    }

    /// Serves one request from beginning to end; returns the number of bytes
    /// written to its buffers.
    ///
    /// # Panics
    /// When others are under way.
    pub fn serve(&mut self, chain: Chain<'_>) -> u32 {
        assert!(self.queue.slots.is_empty(), "requests are under way");
        // SAFETY: the buffers are borrowed until this function returns, and it
        // does not return before the request has been popped.
        #[allow(unsafe_code)]
        unsafe {
            self.push(0, chain, None);
        }
        loop {
            self.poll();
            if let Some(done) = self.pop() {
                return done.len;
            }
            self.queue.wait(self.vssd);
        }
    }

    /// Takes a request on.
    ///
    /// # Safety
    /// The buffers stay valid until the request has been popped; `memory`, if
    /// given, is what keeps them so.
    #[allow(unsafe_code)]
    pub unsafe fn push(&mut self, head: u16, chain: Chain<'_>, memory: Option<MemoryGuard>) {
        self.begun += 1;
        // SAFETY: only the lifetime changes, and the caller promises that the
        // buffers live as long as the slot does.
        let chain = unsafe { std::mem::transmute::<Chain<'_>, Chain<'static>>(chain) };
        let mut slot = Slot {
            head,
            request: Request {
                op: Op::Flush,
                sector: 0,
                bytes: 0,
            },
            first: 0,
            count: 0,
            data: Buffers::default(),
            status: Buffers::default(),
            _memory: memory,
            step: Step::Parked,
            transfers: 0,
            failure: None,
            exclusive: false,
            fresh: SmallVec::new(),
            changed: false,
            began_ns: self.now_ns,
        };
        match self.admit(&mut slot, chain) {
            Ok(()) => {
                self.queue.parked += 1;
                self.queue.slots.push_back(slot);
                self.start(self.queue.slots.len() - 1);
            }
            Err(step) => {
                slot.step = step;
                self.queue.slots.push_back(slot);
            }
        }
    }

    /// Looks at what a chain asks for; an error is how it ends.
    fn admit(&mut self, slot: &mut Slot, mut chain: Chain<'static>) -> Result<(), Step> {
        // The last writable byte is the status; without one there is no answer.
        let data = match chain.answerable {
            true => chain.writable.len().checked_sub(1),
            false => None,
        };
        let Some(data) = data.and_then(|len| chain.writable.split_front(len)) else {
            self.stats.counters.bad_chains += 1;
            return Err(Step::Ended { status: 0, len: 0 });
        };
        slot.status = chain.writable;
        let parsed = match chain.broken {
            true => Err(Reject::Malformed),
            false => parse(&mut chain.readable, &data),
        };
        let checked = parsed.and_then(|request| {
            slot.request = request;
            if matches!(request.op, Op::Read | Op::Write | Op::Zero) {
                let blocks = self.vssd.geometry.blocks_of(request.sector, request.bytes);
                (slot.first, slot.count) = blocks.ok_or(Reject::OutOfRange)?;
                if !self.vssd.volume.holds(slot.first, slot.count) {
                    return Err(Reject::NotHeld);
                }
            }
            Ok(())
        });
        slot.data = match slot.request.op {
            Op::Write => chain.readable,
            _ => data,
        };
        checked.map_err(|reject| {
            self.stats.counters.reject(reject);
            let status = match reject {
                Reject::Unsupported => VIRTIO_BLK_S_UNSUPP,
                _ => VIRTIO_BLK_S_IOERR,
            };
            Step::Ended { status, len: 1 }
        })?;
        if matches!(slot.request.op, Op::Read | Op::Write)
            && let Some(observer) = &mut self.stats.observer
        {
            observer.accessed(slot.first, slot.count);
        }
        Ok(())
    }

    /// Starts a parked request if nothing is in its way.
    fn start(&mut self, index: usize) {
        let slot = &self.queue.slots[index];
        let (exclusive, slow) = match slot.request.op {
            Op::Read => {
                let slow = !self.fits(slot);
                (slow, slow)
            }
            Op::Write => {
                let first_write = self.writes_first(slot);
                let slow = !self.fits(slot) || first_write && !self.is_whole(slot);
                (slow || first_write, slow)
            }
            Op::Zero => (true, false),
            Op::Flush | Op::Identify => (false, false),
        };
        if self.is_blocked(index, exclusive) {
            return;
        }
        self.queue.parked -= 1;
        let slot = &mut self.queue.slots[index];
        slot.exclusive = exclusive;
        slot.step = Step::Moving {
            next: slot.first,
            places: None,
        };
        self.queue.exclusive += usize::from(exclusive);
        match slot.request.op {
            Op::Read | Op::Write if slow => self.slowly(index),
            Op::Read => self.read(index),
            Op::Write => self.write(index),
            Op::Zero => self.zero(index),
            Op::Flush => self.flush(index),
            Op::Identify => self.identify(index),
        }
        self.settle(index);
    }

    /// Whether the medium takes a request's buffers and offset as they are.
    fn fits(&self, slot: &Slot) -> bool {
        let Alignment { address, len } = self.queue.alignment;
        let begin = slot.request.sector * u64::from(SECTOR_SIZE);
        len == 1
            || begin.is_multiple_of(len as u64)
                && slot.request.bytes.is_multiple_of(len as u64)
                && slot.data.are_aligned(address, len)
    }

    fn writes_first(&self, slot: &Slot) -> bool {
        let mut extents = self.vssd.volume.extents(slot.first, slot.count);
        extents.any(|extent| extent.place.is_none())
    }

    fn is_whole(&self, slot: &Slot) -> bool {
        let block_size = self.vssd.geometry.block_size();
        slot.request.bytes == u64::from(slot.count) * u64::from(block_size)
    }

    /// Whether requests to the same blocks are in the way.
    fn is_blocked(&self, index: usize, exclusive: bool) -> bool {
        let queue = &*self.queue;
        if queue.exclusive == 0 && queue.parked == 1 && !exclusive {
            return false;
        }
        let slot = &queue.slots[index];
        queue.slots.iter().enumerate().any(|(at, other)| {
            let moving = other.is_moving() && (exclusive || other.exclusive);
            // Who came first and waits is not overtaken for ever.
            let earlier = at < index && other.step == Step::Parked;
            at != index && (moving || earlier) && slot.overlaps(other)
        })
    }

    pub(super) fn slot(&self, index: usize) -> &Slot {
        &self.queue.slots[index]
    }

    pub(super) fn slot_mut(&mut self, index: usize) -> &mut Slot {
        &mut self.queue.slots[index]
    }

    fn token(&self, index: usize) -> u64 {
        self.queue.base + index as u64
    }

    fn read(&mut self, index: usize) {
        let token = self.token(index);
        let pool = &*self.vssd.pool;
        let slot = &mut self.queue.slots[index];
        let Step::Moving { next, .. } = slot.step else {
            return;
        };
        let mut at = next;
        for extent in self.vssd.volume.extents(at, slot.first + slot.count - at) {
            let clip = slot.clip((extent.first, extent.count), pool.block_size());
            match extent.place {
                None if pool.keeps_data() => {
                    for slice in slot.data.range(clip.skip, clip.len) {
                        clear(slice);
                    }
                }
                None => {}
                Some(place) => {
                    if self.queue.engine.room() == 0 {
                        break;
                    }
                    let offset = pool.offset(place) + clip.within;
                    // SAFETY: by the contract of `push` the buffers stay until
                    // the slot is popped, which waits for its transfers.
                    #[allow(unsafe_code)]
                    unsafe {
                        let mut data = slot.data.range(clip.skip, clip.len);
                        let engine = &mut self.queue.engine;
                        engine.submit(token, Direction::Read, offset, &mut data);
                    }
                    slot.transfers += 1;
                }
            }
            at = extent.first + extent.count;
        }
        self.went_to(index, at, None);
    }

    /// Notes from which block on a request is to go on.
    pub(super) fn went_to(&mut self, index: usize, next: u32, places: Option<Ticket>) {
        let slot = &mut self.queue.slots[index];
        slot.step = Step::Moving { next, places };
        self.queue.stalled += usize::from(next < slot.first + slot.count);
    }

    fn write(&mut self, index: usize) {
        let Step::Moving { next, .. } = self.queue.slots[index].step else {
            return;
        };
        let slot = &self.queue.slots[index];
        let end = slot.first + slot.count;
        let mut at = next;
        let mut places = None;
        while at < end {
            let extent = self.vssd.volume.extents(at, end - at).next();
            let mut extent = extent.expect("the range is not empty");
            if self.queue.engine.room() == 0 {
                break;
            }
            if extent.place.is_none() {
                let first_write = self.allocate(extent.first, extent.count);
                match first_write {
                    Ok(fresh) => {
                        extent = fresh;
                        self.queue.slots[index].fresh.push(fresh);
                    }
                    Err(Some(ticket)) => {
                        places = Some(ticket);
                        break;
                    }
                    Err(None) => {
                        let slot = &mut self.queue.slots[index];
                        slot.failure = Some(io::ErrorKind::StorageFull.into());
                        at = end;
                        break;
                    }
                }
            }
            self.submit_write(index, extent);
            at = extent.first + extent.count;
        }
        self.went_to(index, at, places);
    }

    fn submit_write(&mut self, index: usize, extent: Extent) {
        let token = self.token(index);
        let pool = &*self.vssd.pool;
        let slot = &mut self.queue.slots[index];
        let clip = slot.clip((extent.first, extent.count), pool.block_size());
        let place = extent.place.expect("the extent has places");
        let offset = pool.offset(place) + clip.within;
        // SAFETY: as in `read`.
        #[allow(unsafe_code)]
        unsafe {
            let mut data = slot.data.range(clip.skip, clip.len);
            let engine = &mut self.queue.engine;
            engine.submit(token, Direction::Write, offset, &mut data);
        }
        slot.transfers += 1;
    }

    /// Finds places in a row for the first of these blocks, which were never
    /// written. Without a place for any: what to wait for until there is one, or
    /// nothing if there will be none.
    pub(super) fn allocate(&mut self, first: u32, count: u32) -> Result<Extent, Option<Ticket>> {
        let pool = &*self.vssd.pool;
        let mut books = pool.books_for_io(&mut self.stats.latency, self.activity);
        let volume = &self.vssd.volume;
        let place = match volume.allocate(&mut books.ledger, first) {
            Ok(place) => place,
            Err(Denied::NoPlace { settling: true }) => {
                drop(books);
                return Err(pool.places_later());
            }
            Err(_) => return Err(None),
        };
        let mut fresh = Extent {
            first,
            count: 1,
            place: Some(place),
        };
        while fresh.count < count {
            let block = first + fresh.count;
            match volume.allocate(&mut books.ledger, block) {
                Ok(next) if next == place + fresh.count => fresh.count += 1,
                Ok(stray) => {
                    volume.abandon(&mut books.ledger, block, stray);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(fresh)
    }

    /// The first writes of `fresh` have ended.
    pub(super) fn map(&mut self, fresh: &[Extent], written: bool) {
        let pool = &*self.vssd.pool;
        let mut books = pool.books_for_io(&mut self.stats.latency, self.activity);
        for extent in fresh {
            let place = extent.place.expect("the extent has places");
            if written {
                books.map(&self.vssd.volume, extent.first, place, extent.count);
            } else {
                for i in 0..extent.count {
                    let (block, place) = (extent.first + i, place + i);
                    self.vssd.volume.abandon(&mut books.ledger, block, place);
                }
            }
        }
    }

    /// Takes the places of whole blocks away, and overwrites what is left.
    fn zero(&mut self, index: usize) {
        let block_size = u64::from(self.vssd.geometry.block_size());
        let slot = &self.queue.slots[index];
        let begin = slot.request.sector * u64::from(SECTOR_SIZE);
        let end = begin + slot.request.bytes;
        let (first, last) = (slot.first, slot.first + slot.count);
        let whole_first = begin.div_ceil(block_size) as u32;
        let whole_last = (end / block_size) as u32;
        if whole_first < whole_last {
            let pool = &*self.vssd.pool;
            let mut books = pool.books_for_io(&mut self.stats.latency, self.activity);
            let mut changed = false;
            for word in spans(whole_first, whole_last - whole_first) {
                changed |= books.unmap(&self.vssd.volume, word);
            }
            drop(books);
            self.queue.slots[index].changed |= changed;
        }
        if whole_first > whole_last {
            // Within one block.
            self.slowly_from(index, first, last);
        } else {
            self.slowly_from(index, first, whole_first);
            self.slowly_from(index, whole_last, last);
        }
        self.went_to(index, last, None);
    }

    fn flush(&mut self, index: usize) {
        match self.vssd.pool.flush() {
            Ok(None) => {}
            Ok(Some(ticket)) => self.record(index, ticket),
            Err(error) => self.queue.slots[index].failure = Some(error),
        }
    }

    fn identify(&mut self, index: usize) {
        let name = self.vssd.name.as_bytes();
        let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
        let len = name.len().min(id.len());
        id[..len].copy_from_slice(&name[..len]);
        let slot = &mut self.queue.slots[index];
        if slot.data.copy_from(&id) {
            slot.request.bytes = id.len() as u64;
        } else {
            self.stats.counters.reject(Reject::Malformed);
            slot.step = Step::Ended {
                status: VIRTIO_BLK_S_IOERR,
                len: 1,
            };
        }
    }

    fn record(&mut self, index: usize, ticket: Ticket) {
        self.queue.recording += 1;
        self.queue.commits.expect();
        self.queue.slots[index].step = Step::Recording(ticket);
    }

    /// Moves a request on that may have nothing in flight any more.
    fn settle(&mut self, index: usize) {
        let slot = &mut self.queue.slots[index];
        let Step::Moving { next, .. } = slot.step else {
            return;
        };
        if slot.transfers > 0 {
            return;
        }
        let unfinished = next < slot.first + slot.count && slot.failure.is_none();
        let fresh = std::mem::take(&mut slot.fresh);
        if !fresh.is_empty() {
            let written = slot.failure.is_none();
            slot.changed |= written;
            self.map(&fresh, written);
        }
        if unfinished {
            return;
        }
        let slot = &mut self.queue.slots[index];
        self.queue.exclusive -= usize::from(slot.exclusive);
        // It failed before all of it was submitted.
        self.queue.stalled -= usize::from(next < slot.first + slot.count);
        let through = slot.request.op == Op::Write && self.vssd.writes_through();
        let (changed, failed) = (slot.changed, slot.failure.is_some());
        let pool = &self.vssd.pool;
        let recorded = match (failed, through) {
            (true, _) => Ok(None),
            (false, true) => pool.flush(),
            (false, false) => Ok(changed.then(|| pool.note()).flatten()),
        };
        match recorded {
            Ok(Some(ticket)) => self.record(index, ticket),
            Ok(None) => self.end(index),
            Err(error) => {
                self.queue.slots[index].failure = Some(error);
                self.end(index);
            }
        }
    }

    fn end(&mut self, index: usize) {
        let slot = &mut self.queue.slots[index];
        let Request { op, bytes, .. } = slot.request;
        if let Some(error) = slot.failure.take() {
            self.stats.failed(&self.vssd.name, &error);
            slot.step = Step::Ended {
                status: VIRTIO_BLK_S_IOERR,
                len: 1,
            };
            return;
        }
        let counters = &mut self.stats.counters;
        match op {
            Op::Read => counters.read.add(bytes),
            Op::Write => counters.write.add(bytes),
            Op::Zero => counters.zero.add(bytes),
            Op::Flush => counters.flush += 1,
            Op::Identify => {}
        }
        let filled = match op {
            Op::Read | Op::Identify => bytes as u32,
            _ => 0,
        };
        slot.step = Step::Ended {
            status: VIRTIO_BLK_S_OK,
            len: filled + 1,
        };
    }

    /// A transfer of the slot with this token has ended.
    pub(super) fn moved(&mut self, token: u64, result: io::Result<()>) {
        let index = (token - self.queue.base) as usize;
        let slot = &mut self.queue.slots[index];
        slot.transfers -= 1;
        if let Err(error) = result {
            slot.failure.get_or_insert(error);
        }
        self.settle(index);
    }

    /// Moves on whatever can be.
    pub fn poll(&mut self) {
        let mut any = false;
        while let Some((token, result)) = self.queue.engine.ended() {
            self.moved(token, result);
            any = true;
        }
        if self.queue.recording > 0 {
            any |= self.poll_commits();
        }
        if self.queue.stalled > 0 {
            self.resume();
        }
        if any {
            self.now_ns = self.vssd.now_ns();
            self.unpark();
        }
        self.queue.engine.kick();
    }

    /// Starts what was parked and need not be any more.
    fn unpark(&mut self) {
        for index in 0..self.queue.slots.len() {
            if self.queue.parked == 0 {
                return;
            }
            if self.queue.slots[index].step == Step::Parked {
                self.start(index);
            }
        }
    }

    /// Counts a chain that could not be answered.
    pub fn bad_chain(&mut self) {
        self.stats.counters.bad_chains += 1;
    }

    fn poll_commits(&mut self) -> bool {
        let mut any = false;
        self.queue.commits.expect();
        for index in 0..self.queue.slots.len() {
            let Step::Recording(ticket) = self.queue.slots[index].step else {
                continue;
            };
            if let Some(result) = self.vssd.pool.outcome(ticket) {
                any = true;
                self.queue.recording -= 1;
                self.queue.slots[index].failure = result.err();
                self.end(index);
            }
        }
        any
    }

    /// Goes on with requests that had no room or no places.
    fn resume(&mut self) {
        for index in 0..self.queue.slots.len() {
            let slot = &self.queue.slots[index];
            let Step::Moving { next, places } = slot.step else {
                continue;
            };
            if next == slot.first + slot.count || self.queue.engine.room() == 0 {
                continue;
            }
            match places.map(|ticket| self.vssd.pool.outcome(ticket)) {
                Some(None) => continue,
                Some(Some(Err(error))) => self.queue.slots[index].failure = Some(error),
                _ => {
                    self.queue.stalled -= 1;
                    match self.queue.slots[index].request.op {
                        Op::Read => self.read(index),
                        _ => self.write(index),
                    }
                }
            }
            self.settle(index);
        }
    }

    /// The next request that has ended and before which all have.
    pub fn pop(&mut self) -> Option<Done> {
        let Step::Ended { status, len } = self.queue.slots.front()?.step else {
            return None;
        };
        let slot = self.queue.slots.pop_front()?;
        self.queue.base += 1;
        self.ended += 1;
        if len > 0 {
            slot.status.copy_from(&[status as u8]);
            let service_ns = self.now_ns - slot.began_ns;
            self.stats.latency.served(self.activity, service_ns);
            self.queue.service_ns = (7 * self.queue.service_ns + service_ns) / 8;
        }
        Some(Done {
            head: slot.head,
            len,
        })
    }
}

/// Fills a buffer with zeros.
pub(super) fn clear(slice: vm_memory::VolatileSlice<'_>) {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = 0;
    while at < slice.len() {
        let Ok(rest) = slice.offset(at) else { return };
        let len = rest.len().min(ZEROS.len());
        rest.copy_from(&ZEROS[..len]);
        at += len;
    }
}
