//! RAM from the end of the image on: heap, and pages for devices.

use core::alloc::Layout;
use core::arch::asm;
use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::boot::BootInfo;
use crate::heap::Heap;
use crate::paging;

#[global_allocator]
static HEAP: Heap = Heap::empty();

unsafe extern "C" {
    static image_end: u8;
}

/// Hands the RAM of the memory map to the heap and returns its bytes.
///
/// # Safety
/// To be called once; nothing that firmware or loader left above the image may
/// be used afterwards.
pub unsafe fn init(info: &BootInfo) -> u64 {
    let floor = (&raw const image_end).addr() as u64;
    let mut total = 0;
    // RAM below 4 GiB is mapped and comes first: the page tables for what lies
    // above are allocated from it.
    for above in [false, true] {
        for region in info.regions() {
            let Some(range) = region.usable(floor) else {
                continue;
            };
            if (range.start >= paging::BOOT_MAPPED_END) != above {
                continue;
            }
            paging::map(range.clone());
            // SAFETY: the map calls this usable RAM, it lies above the image
            // and so above the stack, is mapped, and the loader's regions do
            // not overlap.
            unsafe { HEAP.add(range.start as usize, range.end as usize) };
            total += range.end - range.start;
        }
    }
    total
}

/// Whole pages that are never given back, with whatever is in them: the memory
/// of devices. To zero the 10 MiB of a vSSD's buffers would double the time that
/// its driver takes to start.
pub fn pages(count: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(count * PAGE_SIZE, PAGE_SIZE)
        .expect("a few MiB of pages are a valid layout");
    assert!(count > 0, "a request for 0 pages");
    // SAFETY: the layout has a size other than 0.
    let memory = unsafe { alloc::alloc::alloc(layout) };
    // SAFETY: does nothing. As far as Rust knows it has written every byte, as
    // a device may: what RAM contains is then some value, not no value.
    unsafe { asm!("/* {0} */", in(reg) memory, options(nostack, preserves_flags)) };
    NonNull::new(memory).unwrap_or_else(|| alloc::alloc::handle_alloc_error(layout))
}

/// As [`pages`], but all zeros.
pub fn zeroed_pages(count: usize) -> NonNull<u8> {
    let memory = pages(count);
    // SAFETY: these pages were just allocated.
    unsafe { memory.write_bytes(0, count * PAGE_SIZE) };
    memory
}

/// What virtqueues need of the machine. Memory is mapped one to one and devices
/// see all of it, so sharing a buffer is naming its address.
pub struct KernelHal;

// SAFETY: `dma_alloc` returns zeroed, page-aligned memory that nothing else
// owns and that stays allocated; the other methods are the identity that this
// kernel's page tables implement.
unsafe impl Hal for KernelHal {
    fn dma_alloc(count: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let memory = zeroed_pages(count);
        (memory.addr().get() as PhysAddr, memory)
    }

    /// Queues live as long as the machine; an error path that drops one leaks.
    unsafe fn dma_dealloc(_address: PhysAddr, _memory: NonNull<u8>, _count: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).expect("no device has registers at 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.addr().get() as PhysAddr
    }

    unsafe fn unshare(_address: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
