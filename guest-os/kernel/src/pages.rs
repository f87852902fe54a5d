//! Pages of the heap for devices and page tables.

use core::alloc::Layout;
use core::arch::asm;
use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Whole pages that are never given back, with whatever is in them: the memory
/// of devices. To zero the 10 MiB of a vSSD's buffers would double the time that
/// its driver takes to start.
pub fn allocate(count: usize) -> NonNull<u8> {
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

/// As [`allocate`], but all zeros.
pub fn allocate_zeroed(count: usize) -> NonNull<u8> {
    let memory = allocate(count);
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
        let memory = allocate_zeroed(count);
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
