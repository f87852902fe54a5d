//! A backing that records its operations, so that its state after a crash at any moment can be
//! reconstructed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rand::RngExt;
use vm_memory::VolatileSlice;

use super::Backing;

/// What a device writes at once: the rest of a write may be lost.
const SECTOR: usize = 512;

const PAGE: u64 = 4096;

/// Bytes of which only those that were written are kept.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Shared by the images that a crash may leave.
    pages: BTreeMap<u64, Arc<[u8; PAGE as usize]>>,
}

impl Image {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (i, sector) in bytes.chunks(SECTOR).enumerate() {
            let at = offset + (i * SECTOR) as u64;
            let page = self.pages.entry(at / PAGE);
            let page = page.or_insert_with(|| Arc::new([0; PAGE as usize]));
            let within = (at % PAGE) as usize;
            Arc::make_mut(page)[within..within + sector.len()].copy_from_slice(sector);
        }
    }

    fn read(&self, offset: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let len = (PAGE as usize - within).min(buffer.len() - done);
            let page = self.pages.get(&(at / PAGE)).map_or(&ZEROS, |page| page);
            let part = buffer.subslice(done, len).map_err(io::Error::other)?;
            part.copy_from(&page[within..within + len]);
            done += len;
        }
        Ok(())
    }
}

/// Something that was done to the backing.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes were written.
    Write(u64, Vec<u8>),
    /// Everything before became durable.
    Flush,
    /// A mark of its user.
    Mark(usize),
}

#[derive(Debug, Default)]
struct State {
    now: Image,
    /// As of the last flush.
    durable: Image,
    events: Vec<Event>,
    /// Operations until the one that fails.
    fails_in: Option<u32>,
}

/// See the module. Offsets and lengths are multiples of 512.
#[derive(Debug)]
pub struct TraceBacking {
    len: u64,
    state: Mutex<State>,
}

/// What becomes of a write that was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All of it is.
    Whole,
    /// Half of its sectors, the first or the last.
    FirstHalf,
    /// See there.
    SecondHalf,
}

/// A device as a crash left it.
#[derive(Clone, Debug)]
pub struct Crash {
    durable: Image,
    /// Writes since the last flush.
    pending: Vec<(u64, Vec<u8>)>,
}

impl Crash {
    /// Before anything happened to a backing that had this on it.
    pub fn new(durable: Image) -> Self {
        Self {
            durable,
            pending: Vec::new(),
        }
    }

    /// One more event happened.
    pub fn happened(&mut self, event: &Event) {
        match event {
            Event::Write(offset, bytes) => self.pending.push((*offset, bytes.clone())),
            Event::Flush => {
                for (offset, bytes) in std::mem::take(&mut self.pending) {
                    self.durable.write(offset, &bytes);
                }
            }
            Event::Mark(_) => {}
        }
    }

    /// As the death of the process leaves it: all writes are there.
    pub fn killed(&self) -> Image {
        let mut image = self.durable.clone();
        for (offset, bytes) in &self.pending {
            image.write(*offset, bytes);
        }
        image
    }

    /// Writes that the loss of power may lose.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// As the loss of power leaves it if it loses the pending writes that `fate` says, or parts of
    /// them.
    pub fn left(&self, fate: impl Fn(usize) -> Fate) -> Image {
        let mut image = self.durable.clone();
        for (number, (offset, bytes)) in self.pending.iter().enumerate() {
            let half = bytes.len() / SECTOR / 2 * SECTOR;
            match fate(number) {
                Fate::Lost => {}
                Fate::Whole => image.write(*offset, bytes),
                Fate::FirstHalf => image.write(*offset, &bytes[..half]),
                Fate::SecondHalf => image.write(offset + half as u64, &bytes[half..]),
            }
        }
        image
    }

    /// As the loss of power may leave it: of the writes since the last flush
    /// any are there, in any order, each sector on its own.
    pub fn unpowered(&self, rng: &mut impl RngExt) -> Image {
        let mut image = self.durable.clone();
        let kept = [0.0, 0.5, 0.9, 1.0][rng.random_range(0..4)];
        let whole = rng.random::<bool>();
        for (offset, bytes) in &self.pending {
            let write_kept = rng.random_bool(kept);
            for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                let sector_kept = if whole {
                    write_kept
                } else {
                    rng.random_bool(kept)
                };
                if sector_kept {
                    image.write(offset + (i * SECTOR) as u64, sector);
                }
            }
        }
        image
    }
}

impl TraceBacking {
    /// A backing of `len` bytes with `image` on it.
    pub fn new(len: u64, image: Image) -> Self {
        Self {
            len,
            state: Mutex::new(State {
                now: image.clone(),
                durable: image,
                ..State::default()
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Records a mark.
    pub fn mark(&self, at: usize) {
        self.lock().events.push(Event::Mark(at));
    }

    /// The operation after so many others fails, once.
    pub fn fail_in(&self, operations: u32) {
        self.lock().fails_in = Some(operations);
    }

    /// What happened.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// What it holds.
    pub fn image(&self) -> Image {
        self.lock().now.clone()
    }

    /// The state, unless this operation is to fail.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.fails_in {
            Some(0) => {
                state.fails_in = None;
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Some(more) => {
                *more -= 1;
                Ok(state)
            }
            None => Ok(state),
        }
    }
}

impl Backing for TraceBacking {
    fn read(&self, mut offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let state = self.lock();
        for buffer in buffers {
            state.now.read(offset, *buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn write(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let mut state = self.operate()?;
        let mut bytes = Vec::new();
        for buffer in buffers {
            let mut part = vec![0; buffer.len()];
            buffer.copy_to(&mut part);
            bytes.append(&mut part);
        }
        state.now.write(offset, &bytes);
        state.events.push(Event::Write(offset, bytes));
        Ok(())
    }

    /// One that fails loses the writes since the last one, and the next one succeeds, as with a
    /// file whose writeback failed.
    fn flush(&self) -> io::Result<()> {
        match self.operate() {
            Ok(mut state) => {
                state.events.push(Event::Flush);
                state.durable = state.now.clone();
                Ok(())
            }
            Err(error) => {
                let mut state = self.lock();
                state.now = state.durable.clone();
                Err(error)
            }
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn hole_unit(&self) -> Option<u64> {
        Some(SECTOR as u64)
    }

    /// As a write of zeros, any part of which a loss of power may leave undone.
    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let mut zeros = vec![0; (range.end - range.start) as usize];
        self.write(range.start, &[VolatileSlice::from(&mut zeros[..])])
    }
}
