//! Drives a block device by the `blkio` crate: over vhost-user, as QEMU does, or
//! a file by io_uring. The client code above it is the same for both.
//!
//! Every 4 KiB of the device carry a stamp that names their place. A write puts
//! it there, a read looks for it, so that a device which does nothing wins nothing. Stamps
//! can be salted: what was overwritten is told from what was there before.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use blkio::{Blkio, Blkioq, Completion, MemoryRegion, ReqFlags};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use terminal::interrupt;
use vssd_host::latency::histogram;

use super::load::{Load, Pattern, Slice};

/// How long the device may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that have a stamp of their own.
const STAMPED: usize = 4096;

/// The most requests under way.
const MAX_DEPTH: usize = 64;

/// The most bytes of a request.
const MAX_BYTES: usize = 1 << 20;

/// A connection to a device.
pub struct Client {
    // Dropped before the memory that it may still use.
    queue: Blkioq,
    _blkio: Blkio,
    memory: MemoryRegion,
    base: u64,
    len: u64,
    checks: bool,
    /// Goes into every stamp.
    salt: u64,
}

fn failed(doing: &str, error: blkio::Error) -> anyhow::Error {
    anyhow!("{doing}: {}", error.message())
}

impl Client {
    /// Connects to the vhost-user socket at `path`; the device has `len` bytes.
    ///
    /// # Errors
    /// When nothing serves there, or not such a device.
    pub fn vhost_user(path: &Path, len: u64) -> Result<Self> {
        Self::start("virtio-blk-vhost-user", path, &[], 0, len)
    }

    /// Opens `len` bytes from `base` on of the file at `path`, past the page cache.
    ///
    /// # Errors
    /// When it cannot be opened so.
    pub fn file(path: &Path, base: u64, len: u64) -> Result<Self> {
        Self::start("io_uring", path, &["direct"], base, len)
    }

    fn start(driver: &str, path: &Path, flags: &[&str], base: u64, len: u64) -> Result<Self> {
        let path = path.to_str().context("the path is no text")?;
        let mut blkio = Blkio::new(driver).map_err(|e| failed("make a client", e))?;
        blkio
            .set_str("path", path)
            .map_err(|e| failed("set the path", e))?;
        for flag in flags {
            blkio
                .set_bool(flag, true)
                .map_err(|e| failed("set a flag", e))?;
        }
        blkio
            .connect()
            .map_err(|e| failed(&format!("connect to {path}"), e))?;
        let has = blkio
            .get_u64("capacity")
            .map_err(|e| failed("ask for the size", e))?;
        ensure!(
            has >= base + len,
            "{path} has {has} bytes, not {}",
            base + len
        );
        let mut started = blkio.start().map_err(|e| failed("start the client", e))?;
        let memory = blkio
            .alloc_mem_region(MAX_DEPTH * MAX_BYTES)
            .map_err(|e| failed("take memory", e))?;
        blkio
            .map_mem_region(&memory)
            .map_err(|e| failed("map memory", e))?;
        let queue = started.queues.pop().context("the device has no queue")?;
        Ok(Self {
            queue,
            _blkio: blkio,
            memory,
            base,
            len,
            checks: true,
            salt: 0,
        })
    }

    /// Does not look for stamps from now on: the device keeps no data.
    pub fn trust(&mut self) {
        self.checks = false;
    }

    /// What the 4 KiB at `offset` carry.
    fn stamp_of(&self, offset: u64) -> u64 {
        (offset + 1 + self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Writes `count` blocks anywhere with other stamps than they had, and reads them back;
    /// then they get their own again. Nothing of it is timed.
    ///
    /// # Errors
    /// When a request fails, or one of them reads as it did before.
    pub fn prove_writes(&mut self, count: u64, seed: u64) -> Result<()> {
        let blocks = self.len / STAMPED as u64;
        let mut rng = SmallRng::seed_from_u64(seed);
        let places: Vec<u64> = (0..count)
            .map(|_| rng.random_range(0..blocks) * STAMPED as u64)
            .collect();
        self.salt = seed | 1;
        let proved = self
            .each(Pattern::RandomWrite, &places)
            .and_then(|()| self.each(Pattern::RandomRead, &places));
        self.salt = 0;
        proved?;
        self.each(Pattern::RandomWrite, &places)
    }

    /// A request to each of `places`, one after the other.
    fn each(&mut self, pattern: Pattern, places: &[u64]) -> Result<()> {
        let load = Load {
            pattern,
            bytes: STAMPED as u32,
            depth: 1,
        };
        let mut slots = Vec::new();
        for &offset in places {
            self.submit(load, 0, offset);
            slots.clear();
            self.ended(&mut slots)?;
            self.check(load, 0, offset)?;
        }
        Ok(())
    }

    /// The buffer of a slot.
    fn buffer(&self, slot: usize) -> *mut u8 {
        let base = self.memory.addr as *mut u8;
        base.wrapping_add(slot * MAX_BYTES)
    }

    /// Where the stamp of the `index`-th 4 KiB of a slot's buffer is.
    fn stamp(&self, slot: usize, index: usize) -> *mut u64 {
        self.buffer(slot).wrapping_add(index * STAMPED).cast()
    }

    fn submit(&mut self, load: Load, slot: usize, offset: u64) {
        let (buffer, len) = (self.buffer(slot), load.bytes as usize);
        if load.pattern.writes() {
            for index in 0..len / STAMPED {
                let stamp = self.stamp_of(offset + (index * STAMPED) as u64);
                // SAFETY: the stamp lies in the slot's own part of the region, which
                // is mapped as long as `self`; no request uses the slot now.
                unsafe { self.stamp(slot, index).write_volatile(stamp) };
            }
            self.queue
                .write(self.base + offset, buffer, len, slot, ReqFlags::empty());
        } else {
            for index in 0..len / STAMPED {
                // SAFETY: as above.
                unsafe { self.stamp(slot, index).write_volatile(0) };
            }
            self.queue
                .read(self.base + offset, buffer, len, slot, ReqFlags::empty());
        }
    }

    /// Whether what a read found is what belongs there.
    fn check(&self, load: Load, slot: usize, offset: u64) -> Result<()> {
        if load.pattern.writes() || !self.checks {
            return Ok(());
        }
        for index in 0..load.bytes as usize / STAMPED {
            let at = offset + (index * STAMPED) as u64;
            // SAFETY: as in `submit`; the request has ended.
            let found = unsafe { self.stamp(slot, index).read_volatile() };
            ensure!(
                found == self.stamp_of(at),
                "the 4 KiB at byte {at} carry {found:#x}, not {:#x}",
                self.stamp_of(at)
            );
        }
        Ok(())
    }

    /// Slots whose requests have ended; waits for at least one.
    fn ended(&mut self, slots: &mut Vec<usize>) -> Result<()> {
        let mut completions: [MaybeUninit<Completion>; MAX_DEPTH] =
            [const { MaybeUninit::uninit() }; MAX_DEPTH];
        let mut patience = PATIENCE;
        let count = self
            .queue
            .do_io(&mut completions, 1, Some(&mut patience), None)
            .map_err(|e| failed("wait for requests", e))?;
        for completion in &completions[..count] {
            // SAFETY: the queue filled the first `count` of them.
            let completion = unsafe { completion.assume_init_ref() };
            if completion.ret != 0 {
                bail!("a request failed with error {}", -completion.ret);
            }
            slots.push(completion.user_data);
        }
        Ok(())
    }

    /// Runs a load until `at_least` has passed.
    ///
    /// # Errors
    /// When a request fails, or reads something that does not belong there.
    pub fn run(&mut self, load: Load, at_least: Duration, seed: u64) -> Result<Slice> {
        let (mut requests, mut latency) = (0, histogram());
        let each = |began: Instant, ended: Instant| {
            latency.saturating_record((ended - began).as_nanos() as u64);
            requests += 1;
        };
        let began = Instant::now();
        self.run_within(load, self.len, at_least, seed, each)?;
        Ok(Slice {
            requests,
            elapsed: began.elapsed(),
            latency,
        })
    }

    /// Runs a load in the first `len` bytes until `at_least` has passed; `each` is
    /// told when a request began and ended.
    ///
    /// # Errors
    /// When a request fails, or reads something that does not belong there.
    pub fn run_within(
        &mut self,
        load: Load,
        len: u64,
        at_least: Duration,
        seed: u64,
        mut each: impl FnMut(Instant, Instant),
    ) -> Result<()> {
        let chunks = len / u64::from(load.bytes);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut next = rng.random_range(0..chunks);
        let mut place = || {
            next = match load.pattern.is_random() {
                true => rng.random_range(0..chunks),
                false => (next + 1) % chunks,
            };
            next * u64::from(load.bytes)
        };
        let depth = usize::from(load.depth).min(MAX_DEPTH);
        let began = Instant::now();
        let mut under_way = vec![(0, began); depth];
        for (slot, entry) in under_way.iter_mut().enumerate() {
            *entry = (place(), Instant::now());
            self.submit(load, slot, entry.0);
        }
        let mut in_flight = depth;
        let mut slots = Vec::with_capacity(MAX_DEPTH);
        while in_flight > 0 {
            slots.clear();
            self.ended(&mut slots)?;
            let now = Instant::now();
            let goes_on = now - began < at_least;
            for &slot in &slots {
                let (offset, since) = under_way[slot];
                self.check(load, slot, offset)?;
                each(since, now);
                if goes_on {
                    under_way[slot] = (place(), Instant::now());
                    self.submit(load, slot, under_way[slot].0);
                } else {
                    in_flight -= 1;
                }
            }
        }
        interrupt::check()
    }

    /// What the whole device holds, read in order; stamps are not looked for.
    ///
    /// # Errors
    /// When a request fails.
    pub fn read_all(&mut self) -> Result<Vec<u8>> {
        let mut image = vec![0; usize::try_from(self.len)?];
        let mut slots = Vec::new();
        for (chunk, bytes) in (0..).zip(image.chunks_mut(MAX_BYTES)) {
            let load = Load {
                pattern: Pattern::SequentialRead,
                bytes: bytes.len() as u32,
                depth: 1,
            };
            self.submit(load, 0, chunk * MAX_BYTES as u64);
            slots.clear();
            self.ended(&mut slots)?;
            // SAFETY: the first bytes of the slot's own part of the region, which is mapped
            // as long as `self` and no longer than `MAX_BYTES`; the request has ended, and
            // `image` is memory of its own.
            unsafe {
                self.buffer(0)
                    .copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
            }
            interrupt::check()?;
        }
        Ok(image)
    }

    /// Writes zeros to the first `len` bytes, in order: a pool has no place for what was
    /// never written, and asks no medium for it.
    ///
    /// # Errors
    /// When a request fails.
    pub fn zero_first(&mut self, len: u64) -> Result<()> {
        let mut slots = Vec::new();
        for offset in (0..len).step_by(MAX_BYTES) {
            let bytes = MAX_BYTES.min((len - offset) as usize);
            // SAFETY: the slot's own part of the region, which is mapped as long as `self`
            // and no longer than `MAX_BYTES`; no request uses the slot now.
            unsafe { self.buffer(0).write_bytes(0, bytes) };
            let at = self.base + offset;
            self.queue
                .write(at, self.buffer(0), bytes, 0, ReqFlags::empty());
            slots.clear();
            self.ended(&mut slots)?;
            interrupt::check()?;
        }
        Ok(())
    }

    /// Writes the whole device once, in order.
    ///
    /// # Errors
    /// When a request fails.
    pub fn fill(&mut self) -> Result<()> {
        self.fill_first(self.len)
    }

    /// Writes the first `len` bytes of it.
    ///
    /// # Errors
    /// When a request fails.
    pub fn fill_first(&mut self, len: u64) -> Result<()> {
        let load = Load {
            pattern: Pattern::SequentialWrite,
            bytes: MAX_BYTES as u32,
            depth: 4,
        };
        let (mut next, mut in_flight, mut slots) = (0, 0, vec![0, 1, 2, 3]);
        loop {
            for &slot in &slots {
                if next < len {
                    self.submit(load, slot, next);
                    next += MAX_BYTES as u64;
                    in_flight += 1;
                }
            }
            if in_flight == 0 {
                break;
            }
            slots.clear();
            self.ended(&mut slots)?;
            in_flight -= slots.len();
            interrupt::check()?;
        }
        self.queue.flush(0, ReqFlags::empty());
        slots.clear();
        self.ended(&mut slots)
    }
}
