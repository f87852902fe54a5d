//! RAM from the end of the image on, which becomes the heap.

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
