//! Virtio-blk requests: from a descriptor chain to a status byte (virtio 1.2, 5.2.6).
//!
//! A chain comes from a guest and may be anything. Its buffers are collected
//! once, checked to lie in guest memory; what is no request is answered with an
//! error if there is a byte to put it in, and harms nothing else.

use std::time::{Duration, Instant};

use smallvec::SmallVec;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP,
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtio_queue::DescriptorChain;
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice,
};
use vssd::error::Reject;
use vssd::units::SECTOR_SIZE;

use crate::vssd::State;

/// The most bytes that a request may move: what 256 segments of 256 KiB make.
pub const MAX_REQUEST: usize = 64 << 20;

/// Segments of a discard or write-zeroes request; what config space says.
pub const MAX_RANGES: usize = 1;

/// How often at most it is logged that the medium fails.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a request's header.
const HEADER_LEN: usize = 16;

/// Bytes of a discard or write-zeroes segment.
const RANGE_LEN: usize = 16;

/// Guest buffers in a row. The usual request has one or two, which need no
/// allocation.
#[derive(Default)]
pub struct Buffers<'m> {
    slices: SmallVec<[VolatileSlice<'m>; 2]>,
    len: usize,
}

impl<'m> FromIterator<VolatileSlice<'m>> for Buffers<'m> {
    fn from_iter<I: IntoIterator<Item = VolatileSlice<'m>>>(slices: I) -> Self {
        let slices: SmallVec<_> = slices.into_iter().collect();
        let len = slices.iter().map(VolatileSlice::len).sum();
        Self { slices, len }
    }
}

impl<'m> Buffers<'m> {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a buffer of the guest; false when it is not all in guest memory.
    fn gather(
        &mut self,
        memory: &'m GuestMemoryMmap,
        address: GuestAddress,
        len: usize,
        access: Permissions,
    ) -> bool {
        let Ok(mut slices) = memory.get_slices(address, len, access) else {
            return false;
        };
        slices.all(|slice| slice.map(|slice| self.push(slice)).is_ok())
    }

    fn push(&mut self, slice: VolatileSlice<'m>) {
        self.len += slice.len();
        self.slices.push(slice);
    }

    /// Takes the first `len` bytes away; `None` when there are fewer.
    fn split_front(&mut self, len: usize) -> Option<Self> {
        let rest = self.len.checked_sub(len)?;
        let mut front = Self::default();
        let slices = std::mem::take(&mut self.slices);
        for slice in slices {
            let take = slice.len().min(len - front.len);
            if take > 0 {
                front.push(slice.subslice(0, take).ok()?);
            }
            if take < slice.len() {
                self.slices.push(slice.offset(take).ok()?);
            }
        }
        self.len = rest;
        Some(front)
    }

    /// Copies the first bytes to `out` without taking them; false when there
    /// are too few.
    pub fn copy_to(&self, out: &mut [u8]) -> bool {
        let mut at = 0;
        for slice in &self.slices {
            let len = slice.len().min(out.len() - at);
            slice.copy_to(&mut out[at..at + len]);
            at += len;
        }
        at == out.len()
    }

    /// Copies `bytes` to the front; false when there is too little room.
    pub fn copy_from(&self, bytes: &[u8]) -> bool {
        let mut at = 0;
        for slice in &self.slices {
            let len = slice.len().min(bytes.len() - at);
            slice.copy_from(&bytes[at..at + len]);
            at += len;
        }
        at == bytes.len()
    }
}

/// The buffers of a chain: those that the device reads, then those it writes.
#[derive(Default)]
pub struct Chain<'m> {
    /// What the driver filled.
    pub readable: Buffers<'m>,
    /// What the device may fill.
    pub writable: Buffers<'m>,
    /// A buffer lies outside guest memory, or a readable one follows a
    /// writable one (virtio 1.2, 2.7.4.2). The others are collected all the same.
    pub broken: bool,
    /// The last writable buffer is sound, so that a status byte can be left there.
    pub answerable: bool,
}

impl<'m> Chain<'m> {
    /// A sound chain of these buffers.
    pub fn new(
        readable: impl IntoIterator<Item = VolatileSlice<'m>>,
        writable: impl IntoIterator<Item = VolatileSlice<'m>>,
    ) -> Self {
        let writable: Buffers<'m> = writable.into_iter().collect();
        Self {
            readable: readable.into_iter().collect(),
            answerable: !writable.is_empty(),
            writable,
            broken: false,
        }
    }

    /// Collects the buffers of a chain.
    pub fn collect<M>(chain: DescriptorChain<M>, memory: &'m GuestMemoryMmap) -> Self
    where
        M: Clone + std::ops::Deref<Target = GuestMemoryMmap>,
    {
        let mut buffers = Self::default();
        for descriptor in chain {
            let len = descriptor.len() as usize;
            let (side, access) = match descriptor.is_write_only() {
                true => (&mut buffers.writable, Permissions::Write),
                false => {
                    buffers.broken |= !buffers.writable.is_empty();
                    (&mut buffers.readable, Permissions::Read)
                }
            };
            let sound = side.gather(memory, descriptor.addr(), len, access);
            buffers.broken |= !sound;
            if descriptor.is_write_only() {
                buffers.answerable = sound;
            }
        }
        buffers
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Why a request did not succeed.
enum Failure {
    /// The driver may not do that.
    Rejected(Reject),
    /// The device cannot do that.
    Unsupported,
    /// The medium failed.
    Medium(std::io::Error),
}

impl From<Reject> for Failure {
    fn from(reject: Reject) -> Self {
        Self::Rejected(reject)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Medium(error)
    }
}

/// Serves a chain of queue 0 and returns the number of bytes written to it.
pub fn serve(state: &mut State, name: &str, mut chain: Chain<'_>) -> u32 {
    // The last writable byte is the status; without one there is no answer.
    let data = match chain.answerable {
        true => chain.writable.len().checked_sub(1),
        false => None,
    };
    let Some(data) = data.and_then(|len| chain.writable.split_front(len)) else {
        state.counters.bad_chains += 1;
        return 0;
    };
    let result = match chain.broken {
        true => Err(Reject::Malformed.into()),
        false => execute(state, name, chain.readable, data),
    };
    let (status, written) = match result {
        Ok(written) => (VIRTIO_BLK_S_OK, written),
        Err(Failure::Unsupported) => {
            state.counters.reject(Reject::Unsupported);
            (VIRTIO_BLK_S_UNSUPP, 0)
        }
        Err(Failure::Rejected(reject)) => {
            state.counters.reject(reject);
            (VIRTIO_BLK_S_IOERR, 0)
        }
        Err(Failure::Medium(error)) => {
            state.counters.io_errors += 1;
            // A full disk fails request after request; the log says it once in a while.
            let due = |last: Instant| last.elapsed() >= LOG_INTERVAL;
            if state.failure_logged.is_none_or(due) {
                state.failure_logged = Some(Instant::now());
                tracing::error!(vssd = %name, %error, "the backing failed a request; the guest gets an I/O error");
            }
            (VIRTIO_BLK_S_IOERR, 0)
        }
    };
    chain.writable.copy_from(&[status as u8]);
    written + 1
}

/// Carries a request out; returns the bytes of `data` that were written.
fn execute(
    state: &mut State,
    name: &str,
    mut readable: Buffers<'_>,
    data: Buffers<'_>,
) -> Result<u32, Failure> {
    let header = readable.split_front(HEADER_LEN).ok_or(Reject::Malformed)?;
    let mut bytes = [0; HEADER_LEN];
    header.copy_to(&mut bytes);
    let (kind, sector) = (u32_at(&bytes, 0), u64_at(&bytes, 8));
    if readable.len() > MAX_REQUEST || data.len() > MAX_REQUEST {
        return Err(Reject::Malformed.into());
    }
    match kind {
        VIRTIO_BLK_T_IN => {
            let len = data.len() as u64;
            let blocks = state.device.check_io(sector, len)?;
            state.accessed(blocks);
            state.store.read(sector, &data.slices)?;
            state.counters.read.requests += 1;
            state.counters.read.bytes += len;
            Ok(len as u32)
        }
        VIRTIO_BLK_T_OUT => {
            let len = readable.len() as u64;
            let blocks = state.device.check_io(sector, len)?;
            state.accessed(blocks);
            state.store.write(sector, blocks, &readable.slices)?;
            state.counters.write.requests += 1;
            state.counters.write.bytes += len;
            Ok(0)
        }
        VIRTIO_BLK_T_FLUSH => {
            state.store.flush()?;
            state.counters.flush += 1;
            Ok(0)
        }
        VIRTIO_BLK_T_GET_ID => {
            let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
            let len = name.len().min(id.len());
            id[..len].copy_from_slice(&name.as_bytes()[..len]);
            match data.copy_from(&id) {
                true => Ok(id.len() as u32),
                false => Err(Reject::Malformed.into()),
            }
        }
        VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => zero(state, kind, &readable),
        _ => Err(Failure::Unsupported),
    }
}

/// Discards or zeroes ranges; both leave zeros and give the space back.
fn zero(state: &mut State, kind: u32, readable: &Buffers<'_>) -> Result<u32, Failure> {
    let mut bytes = [0; RANGE_LEN * MAX_RANGES];
    let len = readable.len();
    if len == 0 || !len.is_multiple_of(RANGE_LEN) || len > bytes.len() {
        return Err(Reject::Malformed.into());
    }
    readable.copy_to(&mut bytes[..len]);
    for range in bytes[..len].chunks_exact(RANGE_LEN) {
        let (sector, sectors, flags) = (u64_at(range, 0), u32_at(range, 8), u32_at(range, 12));
        // Only write-zeroes has a flag: unmap (virtio 1.2, 5.2.6.2).
        let known = u32::from(kind == VIRTIO_BLK_T_WRITE_ZEROES);
        if flags & !known != 0 {
            return Err(Failure::Unsupported);
        }
        let bytes = u64::from(sectors) * u64::from(SECTOR_SIZE);
        state.device.check_io(sector, bytes)?;
        state.store.zero(sector, bytes)?;
        state.counters.zero.requests += 1;
        state.counters.zero.bytes += bytes;
    }
    Ok(0)
}

/// The memory of a frontend, held while a request uses it.
pub type MemoryGuard = <vm_memory::GuestMemoryAtomic<GuestMemoryMmap> as GuestAddressSpace>::T;
