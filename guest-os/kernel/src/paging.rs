//! One-to-one mappings beyond the 4 GiB that `boot.s` maps.
//!
//! Ring 3 may write the page tables, like all memory, but cannot flush the TLB.
//! It need not: entries only ever go from absent to present, and the CPU does
//! not cache absent ones (SDM 3A, 5.10.4.3).

use core::ops::Range;

use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, PageTable, PageTableFlags, PhysFrame, Size2MiB,
    Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::pages;

/// Where the mappings of `boot.s` end.
pub const BOOT_MAPPED_END: u64 = 1 << 32;

unsafe extern "C" {
    static mut page_map_level_4: PageTable;
}

struct HeapFrames;

// SAFETY: each call returns a zeroed page of the heap that is never given back.
unsafe impl FrameAllocator<Size4KiB> for HeapFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let address = pages::allocate_zeroed(1).addr().get() as u64;
        PhysFrame::from_start_address(PhysAddr::new(address)).ok()
    }
}

/// Maps what is not mapped of `range`, in pages of 2 MiB.
///
/// # Panics
/// When the range reaches beyond what page tables can map.
pub fn map(range: Range<u64>) {
    if range.end <= BOOT_MAPPED_END {
        return;
    }
    let flags =
        PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::USER_ACCESSIBLE;
    let level_4 = &raw mut page_map_level_4;
    // SAFETY: the tables are mapped one to one, hence the offset of 0, and
    // nothing else refers to them: this function runs to its end each time.
    let mut tables = unsafe { OffsetPageTable::new(&mut *level_4, VirtAddr::zero()) };
    let first = PhysFrame::<Size2MiB>::containing_address(PhysAddr::new(range.start));
    let last = PhysFrame::containing_address(PhysAddr::new(range.end - 1));
    for frame in PhysFrame::range_inclusive(first, last) {
        // SAFETY: a mapping of an address to itself where none was: no memory
        // gains a second address.
        match unsafe { tables.identity_map(frame, flags, &mut HeapFrames) } {
            Ok(flush) => flush.ignore(),
            Err(MapToError::PageAlreadyMapped(_) | MapToError::ParentEntryHugePage) => {}
            Err(MapToError::FrameAllocationFailed) => unreachable!("the allocation panics first"),
        }
    }
}
