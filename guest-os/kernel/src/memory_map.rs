//! Which parts of the machine's memory map become heap.

/// One region of the memory map, as `hvm_memmap_table_entry` gives it
/// (Xen: public/arch-x86/hvm/start_info.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// First physical address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// [`Region::RAM`], or another kind, which is not usable.
    pub kind: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Region>() == 24);

impl Region {
    /// The kind of usable memory.
    pub const RAM: u32 = 1;

    /// A region.
    pub const fn new(start: u64, length: u64, kind: u32) -> Self {
        Self {
            start,
            length,
            kind,
            reserved: 0,
        }
    }

    /// The part of this region that may become heap: whole pages of RAM from
    /// `floor` on. `None` when there is none, or when the numbers overflow.
    pub fn usable(&self, floor: u64) -> Option<core::ops::Range<u64>> {
        const PAGE: u64 = 4096;
        if self.kind != Self::RAM {
            return None;
        }
        let end = self.start.checked_add(self.length)? & !(PAGE - 1);
        let start = self.start.max(floor).checked_next_multiple_of(PAGE)?;
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::Region;

    #[test]
    fn only_ram_above_the_floor_is_usable() {
        let ram = |start, length| Region::new(start, length, Region::RAM).usable(0x30_0000);
        assert_eq!(ram(0, 0xa_0000), None);
        assert_eq!(ram(0x10_0000, 0x100_0000), Some(0x30_0000..0x110_0000));
        assert_eq!(
            ram(0x1_0000_0000, 0x1000),
            Some(0x1_0000_0000..0x1_0000_1000)
        );
        assert_eq!(Region::new(0x40_0000, 0x1000, 2).usable(0x30_0000), None);
    }

    #[test]
    fn ends_are_cut_to_whole_pages() {
        let ram = |start, length| Region::new(start, length, Region::RAM).usable(0);
        assert_eq!(ram(0x1001, 0x2fff), Some(0x2000..0x4000));
        assert_eq!(ram(0x1001, 0x1ffe), None);
        assert_eq!(ram(u64::MAX - 1, 4), None);
    }
}
