//! Drives a block device with the `blkio` crate: over vhost-user, as QEMU does, or a file
//! through io_uring. The client code is the same for both.
//!
//! Each 4 KiB of the device carry a stamp derived from their offset. Writes store it and reads
//! check it, so that a device that moves no data fails. Stamps can be salted, to distinguish
//! new data from old.
#![allow(unsafe_code)]

use std::io;
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

/// Timeout for any request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes per stamp.
const STAMPED: usize = 4096;

/// Upper bound of the depth.
const MAX_DEPTH: usize = 64;

/// Upper bound of a request's bytes.
const MAX_BYTES: usize = 1 << 20;

/// A connection to a device.
pub struct Client {
    // Dropped before the memory that its requests use.
    queue: Blkioq,
    _blkio: Blkio,
    memory: MemoryRegion,
    base: u64,
    len: u64,
    checks: bool,
    /// Part of every stamp.
    salt: u64,
}

fn failed(doing: &str, error: blkio::Error) -> anyhow::Error {
    anyhow!("{doing}: {}", error.message())
}

impl Client {
    /// Connects to the vhost-user socket at `path`. The device has at least `len` bytes.
    ///
    /// # Errors
    /// When the connection fails, or the device is smaller.
    pub fn vhost_user(path: &Path, len: u64) -> Result<Self> {
        Self::start("virtio-blk-vhost-user", path, &[], 0, len)
    }

    /// Opens `len` bytes from `base` of the file at `path` with O_DIRECT.
    ///
    /// # Errors
    /// When the file cannot be opened with O_DIRECT, or is smaller.
    pub fn file(path: &Path, base: u64, len: u64) -> Result<Self> {
        Self::start("io_uring", path, &["direct"], base, len)
    }

    fn start(driver: &str, path: &Path, flags: &[&str], base: u64, len: u64) -> Result<Self> {
        let path = path
            .to_str()
            .with_context(|| format!("{} is not UTF-8", path.display()))?;
        let mut blkio = Blkio::new(driver).map_err(|e| failed("create a client", e))?;
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
            .map_err(|e| failed("read the capacity", e))?;
        ensure!(
            has >= base + len,
            "{path} has {has} bytes; at least {} are needed",
            base + len
        );
        let mut started = blkio.start().map_err(|e| failed("start the client", e))?;
        let memory = blkio
            .alloc_mem_region(MAX_DEPTH * MAX_BYTES)
            .map_err(|e| failed("allocate memory", e))?;
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

    /// Turns the check of stamps off, for a device that keeps no data.
    pub fn disable_checks(&mut self) {
        self.checks = false;
    }

    /// The stamp of the 4 KiB at `offset`.
    fn stamp_of(&self, offset: u64) -> u64 {
        (offset + 1 + self.salt).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Writes salted stamps to `count` random blocks, reads them back, and restores the plain
    /// stamps. Not timed.
    ///
    /// # Errors
    /// When a request fails, or a block reads as it did before.
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

    /// One request to each of `places`, in order.
    fn each(&mut self, pattern: Pattern, places: &[u64]) -> Result<()> {
        let load = Load {
            pattern,
            bytes: STAMPED as u32,
            depth: 1,
        };
        let mut slots = Vec::new();
        for &offset in places {
            self.submit(load, 0, offset);
            self.completed(&mut slots)?;
            self.check(load, 0, offset)?;
        }
        Ok(())
    }

    fn buffer(&self, slot: usize) -> *mut u8 {
        let base = self.memory.addr as *mut u8;
        base.wrapping_add(slot * MAX_BYTES)
    }

    /// The stamp in the `index`-th 4 KiB of a slot's buffer.
    fn stamp(&self, slot: usize, index: usize) -> *mut u64 {
        self.buffer(slot).wrapping_add(index * STAMPED).cast()
    }

    fn submit(&mut self, load: Load, slot: usize, offset: u64) {
        let (buffer, len) = (self.buffer(slot), load.bytes as usize);
        if load.pattern.is_write() {
            for index in 0..len / STAMPED {
                let stamp = self.stamp_of(offset + (index * STAMPED) as u64);
                // SAFETY: the stamp lies in the slot's own part of the region, which is mapped
                // as long as `self` exists; no request uses the slot now.
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

    /// Checks the stamps that a read returned.
    fn check(&self, load: Load, slot: usize, offset: u64) -> Result<()> {
        if load.pattern.is_write() || !self.checks {
            return Ok(());
        }
        for index in 0..load.bytes as usize / STAMPED {
            let at = offset + (index * STAMPED) as u64;
            // SAFETY: as in `submit`; the request is complete.
            let found = unsafe { self.stamp(slot, index).read_volatile() };
            ensure!(
                found == self.stamp_of(at),
                "wrong data at byte {at}: stamp {found:#x}, expected {:#x}",
                self.stamp_of(at)
            );
        }
        Ok(())
    }

    /// Sets `slots` to those of the completed requests; waits for at least one.
    fn completed(&mut self, slots: &mut Vec<usize>) -> Result<()> {
        slots.clear();
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
                bail!(
                    "a request failed: {}",
                    io::Error::from_raw_os_error(-completion.ret)
                );
            }
            slots.push(completion.user_data);
        }
        Ok(())
    }

    /// Runs a load for `at_least`.
    ///
    /// # Errors
    /// When a request fails, or a read returns wrong data.
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

    /// Runs a load in the first `len` bytes for `at_least`; `each` receives the start and end
    /// of each request.
    ///
    /// # Errors
    /// When a request fails, or a read returns wrong data.
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
            next = if load.pattern.is_random() {
                rng.random_range(0..chunks)
            } else {
                (next + 1) % chunks
            };
            next * u64::from(load.bytes)
        };
        let depth = usize::from(load.depth).min(MAX_DEPTH);
        let began = Instant::now();
        let mut requests = vec![(0, began); depth];
        for (slot, entry) in requests.iter_mut().enumerate() {
            *entry = (place(), Instant::now());
            self.submit(load, slot, entry.0);
        }
        let mut in_flight = depth;
        let mut slots = Vec::with_capacity(MAX_DEPTH);
        while in_flight > 0 {
            self.completed(&mut slots)?;
            let now = Instant::now();
            let goes_on = now - began < at_least;
            for &slot in &slots {
                let (offset, since) = requests[slot];
                self.check(load, slot, offset)?;
                each(since, now);
                if goes_on {
                    requests[slot] = (place(), Instant::now());
                    self.submit(load, slot, requests[slot].0);
                } else {
                    in_flight -= 1;
                }
            }
        }
        interrupt::check()
    }

    /// Reads the whole device in order; stamps are not checked.
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
            self.completed(&mut slots)?;
            // SAFETY: the bytes are at most `MAX_BYTES` at the start of the slot's own part of
            // the region, which is mapped as long as `self` exists; the request is complete, and
            // `image` is separate memory.
            unsafe {
                self.buffer(0)
                    .copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
            }
            interrupt::check()?;
        }
        Ok(image)
    }

    /// Writes zeros to the first `len` bytes, in order. Without it, a pool serves reads of
    /// blocks never written without I/O to the medium.
    ///
    /// # Errors
    /// When a request fails.
    pub fn zero_first(&mut self, len: u64) -> Result<()> {
        let mut slots = Vec::new();
        for offset in (0..len).step_by(MAX_BYTES) {
            let bytes = MAX_BYTES.min((len - offset) as usize);
            // SAFETY: the bytes are at most `MAX_BYTES` in the slot's own part of the region,
            // which is mapped as long as `self` exists; no request uses the slot now.
            unsafe { self.buffer(0).write_bytes(0, bytes) };
            let at = self.base + offset;
            self.queue
                .write(at, self.buffer(0), bytes, 0, ReqFlags::empty());
            self.completed(&mut slots)?;
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
            self.completed(&mut slots)?;
            in_flight -= slots.len();
            interrupt::check()?;
        }
        self.queue.flush(0, ReqFlags::empty());
        self.completed(&mut slots)
    }
}
