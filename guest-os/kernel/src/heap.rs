//! The global allocator: a buddy system with free lists for small blocks.
//!
//! The buddy system alone searches a list for the buddy of every block that is
//! freed: dropping 100,000 boxes took it longer than 18 s. So blocks of up to
//! [`SMALL_MAX`] bytes come from chunks of one size each and go back to a list
//! of that size, in constant time. A chunk never returns to the buddy system:
//! the guest runs one program, which will ask for the same sizes again.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use buddy_system_allocator::LockedHeap;
use spin::Mutex;

/// Smallest block: a link of a free list fits it.
const SMALL_MIN: usize = 16;
/// Largest block of a free list.
const SMALL_MAX: usize = 16 << 10;
/// What small blocks are cut from; aligned to itself, hence they to theirs.
const CHUNK: usize = 256 << 10;
const CLASSES: usize = (SMALL_MAX / SMALL_MIN).ilog2() as usize + 1;

/// The buddy system's blocks are of up to 4 GiB.
const ORDERS: usize = 33;

/// An allocator over the memory that [`add`](Self::add) gives it.
pub struct Heap {
    small: Mutex<[Class; CLASSES]>,
    large: LockedHeap<ORDERS>,
}

/// The blocks of one size.
#[derive(Clone, Copy)]
struct Class {
    freed: Option<NonNull<Freed>>,
    /// The part of the newest chunk that was never handed out.
    fresh: *mut u8,
    fresh_len: usize,
}

/// The content of a freed block.
struct Freed {
    next: Option<NonNull<Freed>>,
}

// SAFETY: the pointers lead to free blocks, which belong to the heap alone and
// to no thread in particular.
unsafe impl Send for Class {}

impl Class {
    const EMPTY: Self = Self {
        freed: None,
        fresh: ptr::null_mut(),
        fresh_len: 0,
    };
}

/// Bytes of the block that serves a layout: a power of two.
const fn block_len(size: usize, align: usize) -> usize {
    let len = if size > align { size } else { align };
    let len = if len > SMALL_MIN { len } else { SMALL_MIN };
    len.next_power_of_two()
}

const fn class_of(block_len: usize) -> usize {
    (block_len / SMALL_MIN).ilog2() as usize
}

impl Heap {
    /// A heap without memory.
    pub const fn empty() -> Self {
        Self {
            small: Mutex::new([Class::EMPTY; CLASSES]),
            large: LockedHeap::new(),
        }
    }

    /// Gives the heap more memory.
    ///
    /// # Safety
    /// The range must be mapped memory that nothing else uses, now or later.
    pub unsafe fn add(&self, start: usize, end: usize) {
        // SAFETY: passed on to our caller.
        unsafe { self.large.lock().add_to_heap(start, end) };
    }

    fn alloc_small(&self, len: usize) -> *mut u8 {
        let class = &mut self.small.lock()[class_of(len)];
        if let Some(block) = class.freed {
            // SAFETY: a block on the list is free and starts with its link.
            class.freed = unsafe { block.read() }.next;
            return block.as_ptr().cast();
        }
        if class.fresh_len == 0 {
            // SAFETY: the layout has a size other than 0.
            let chunk = unsafe { self.large.alloc(CHUNK_LAYOUT) };
            if chunk.is_null() {
                return chunk;
            }
            class.fresh = chunk;
            class.fresh_len = CHUNK;
        }
        let block = class.fresh;
        // Within the chunk, or one past its end: `len` divides its length.
        class.fresh = block.wrapping_add(len);
        class.fresh_len -= len;
        block
    }
}

const CHUNK_LAYOUT: Layout = match Layout::from_size_align(CHUNK, CHUNK) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two is a valid layout"),
};

// SAFETY: blocks are powers of two, as long and as aligned as the layout asks.
// Each is handed out once until it is freed: small ones leave their list or the
// fresh part of a chunk under the lock, large ones by the buddy system. Which
// of both a block belongs to follows from its layout alone.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let len = block_len(layout.size(), layout.align());
        if len <= SMALL_MAX {
            self.alloc_small(len)
        } else {
            // SAFETY: passed on to our caller.
            unsafe { self.large.alloc(layout) }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let len = block_len(layout.size(), layout.align());
        if len > SMALL_MAX {
            // SAFETY: passed on to our caller.
            return unsafe { self.large.dealloc(block, layout) };
        }
        let class = &mut self.small.lock()[class_of(len)];
        let freed = block.cast::<Freed>();
        // SAFETY: our caller gives the block up; it is at least as long and
        // aligned as a link, and not null.
        unsafe {
            freed.write(Freed { next: class.freed });
            class.freed = Some(NonNull::new_unchecked(freed));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let old = block_len(layout.size(), layout.align());
        if old == block_len(new_size, layout.align()) {
            return block;
        }
        // SAFETY: our caller's layout is valid for the new size, and the old
        // block is valid for the shorter of both.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
