//! Guest buffers: the ranges of a descriptor chain, checked to lie in guest memory.

use smallvec::SmallVec;
use virtio_queue::DescriptorChain;
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryMmap, Permissions, VolatileSlice,
};

/// Where a chain came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The virtqueue.
    pub queue: u16,
    /// The head of the chain there.
    pub head: u16,
}

/// Guest buffers in a row. The usual request has one or two, which need no
/// allocation.
#[derive(Default)]
pub struct Buffers<'m> {
    slices: SmallVec<[VolatileSlice<'m>; 2]>,
    len: usize,
}

impl<'m> FromIterator<VolatileSlice<'m>> for Buffers<'m> {
    fn from_iter<I: IntoIterator<Item = VolatileSlice<'m>>>(slices: I) -> Self {
        let mut buffers = Self::default();
        slices.into_iter().for_each(|slice| buffers.push(slice));
        buffers
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
        permissions: Permissions,
    ) -> bool {
        let Ok(mut slices) = memory.get_slices(address, len, permissions) else {
            return false;
        };
        slices.all(|slice| slice.map(|slice| self.push(slice)).is_ok())
    }

    fn push(&mut self, slice: VolatileSlice<'m>) {
        if slice.is_empty() {
            return;
        }
        self.len += slice.len();
        self.slices.push(slice);
    }

    /// Moves the first bytes to `out`; false, and nothing moved, when there are too few.
    pub fn take(&mut self, out: &mut [u8]) -> bool {
        if !self.copy_to(out) {
            return false;
        }
        self.len -= out.len();
        let mut rest = out.len();
        while let Some(first) = self.slices.first_mut() {
            if first.len() > rest {
                if let Ok(after) = first.offset(rest) {
                    *first = after;
                }
                break;
            }
            rest -= first.len();
            self.slices.remove(0);
        }
        true
    }

    /// Splits the last byte off; `None` when there is none.
    pub fn split_last(&mut self) -> Option<VolatileSlice<'m>> {
        let last = self.slices.last_mut()?;
        let before = last.len() - 1;
        let byte = last.offset(before).ok()?;
        *last = last.subslice(0, before).ok()?;
        if before == 0 {
            self.slices.pop();
        }
        self.len -= 1;
        Some(byte)
    }

    /// The `len` bytes after the first `skip`, which must exist.
    pub fn range(
        &self,
        mut skip: usize,
        mut len: usize,
    ) -> impl Iterator<Item = VolatileSlice<'m>> + '_ {
        self.slices.iter().filter_map(move |slice| {
            if skip >= slice.len() {
                skip -= slice.len();
                return None;
            }
            let take = (slice.len() - skip).min(len);
            let part = slice.subslice(skip, take).ok()?;
            skip = 0;
            len -= take;
            (take > 0).then_some(part)
        })
    }

    /// Whether each buffer lies and ends at multiples of these in memory.
    pub fn are_aligned(&self, address: usize, len: usize) -> bool {
        self.slices.iter().all(|slice| {
            let begin = slice.ptr_guard().as_ptr() as usize;
            begin.is_multiple_of(address) && slice.len().is_multiple_of(len)
        })
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
    /// A buffer lies outside guest memory, or a readable one follows a writable one (virtio 1.2,
    /// 2.7.4.2). The others are collected nevertheless.
    pub broken: bool,
    /// The last writable buffer is valid, so that a status byte can be stored there.
    pub answerable: bool,
}

impl<'m> Chain<'m> {
    /// A valid chain of these buffers.
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
            let (side, permissions) = if descriptor.is_write_only() {
                (&mut buffers.writable, Permissions::Write)
            } else {
                buffers.broken |= !buffers.writable.is_empty();
                (&mut buffers.readable, Permissions::Read)
            };
            let sound = side.gather(memory, descriptor.addr(), len, permissions);
            buffers.broken |= !sound;
            if descriptor.is_write_only() {
                buffers.answerable = sound;
            }
        }
        buffers
    }
}

/// The memory of a frontend, held while a request uses it.
pub type MemoryGuard = <vm_memory::GuestMemoryAtomic<GuestMemoryMmap> as GuestAddressSpace>::T;
