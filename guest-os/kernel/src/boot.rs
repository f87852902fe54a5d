//! The machine's tables at entry, and the loader's information.
//!
//! `boot.s` loads the descriptor tables that are laid out here and enters
//! [`crate::start`] in ring 3.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::size_of;
use core::ptr;

use guest_kernel::memory_map::Region;
use x86_64::structures::gdt::DescriptorFlags;
use x86_64::structures::idt::{Entry, HandlerFunc};
use x86_64::structures::tss::TaskStateSegment;

/// Selectors into [`GDT`]. Those of ring 3 are the ones that Linux uses, which
/// a software KVM needs in order to run ring 3 natively.
pub const KERNEL_CODE: u16 = 2 << 3;
const KERNEL_DATA: u16 = 3 << 3;
/// Data of ring 3.
pub const USER_DATA: u16 = 5 << 3 | 3;
/// Code of ring 3.
pub const USER_CODE: u16 = 6 << 3 | 3;
const TSS_SELECTOR: u16 = 7 << 3;

/// Bytes of the I/O permission bitmap: a bit per port.
const IO_BITMAP_LEN: usize = 65_536 / 8;

/// A task state segment that lets ring 3 use every I/O port.
///
/// The bitmap follows the segment, where [`TaskStateSegment::new`] points its
/// base; a byte of ones ends it (SDM 1, 19.5.2).
#[repr(C)]
pub struct Tss {
    /// What the CPU reads: the stacks of ring 0 are set before the first trap.
    pub segment: TaskStateSegment,
    io_bitmap: [u8; IO_BITMAP_LEN],
    end: u8,
}

/// Memory that the CPU reads by itself, and that Rust writes only during
/// start-up.
#[repr(transparent)]
pub struct CpuTable<T>(UnsafeCell<T>);

// SAFETY: one CPU runs this kernel and interrupts never run Rust, so nothing
// reaches a table from two places at once.
unsafe impl<T> Sync for CpuTable<T> {}

impl<T> CpuTable<T> {
    const fn new(table: T) -> Self {
        Self(UnsafeCell::new(table))
    }

    /// Where the table lies.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

static GDT: CpuTable<[u64; 9]> = CpuTable::new([
    0,
    0,
    DescriptorFlags::KERNEL_CODE64.bits(),
    DescriptorFlags::KERNEL_DATA.bits(),
    0,
    DescriptorFlags::USER_DATA.bits(),
    DescriptorFlags::USER_CODE64.bits(),
    // An available 64-bit TSS (SDM 3A, 9.2.3), its limit the last byte's
    // offset; boot.s adds the address.
    DescriptorFlags::PRESENT.bits()
        | 9 << 40
        | (size_of::<TaskStateSegment>() + IO_BITMAP_LEN) as u64,
    0,
]);

/// The task state segment.
pub static TSS: CpuTable<Tss> = CpuTable::new(Tss {
    segment: TaskStateSegment::new(),
    io_bitmap: [0; IO_BITMAP_LEN],
    end: 0xff,
});

/// The interrupt descriptor table.
pub static IDT: CpuTable<[Entry<HandlerFunc>; 256]> =
    CpuTable::new([const { Entry::missing() }; 256]);

global_asm!(
    include_str!("boot.s"),
    kernel_code = const KERNEL_CODE,
    kernel_data = const KERNEL_DATA,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    tss_selector = const TSS_SELECTOR,
    tss = sym TSS,
    gdt = sym GDT,
    gdt_limit = const size_of::<[u64; 9]>() - 1,
    idt = sym IDT,
    idt_limit = const size_of::<[Entry<HandlerFunc>; 256]>() - 1,
    main = sym crate::start,
);

global_asm!(include_str!("string.s"));

/// `hvm_start_info`, version 1 (Xen: public/arch-x86/hvm/start_info.h).
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

const START_INFO_MAGIC: u32 = 0x336e_c578;

/// More than any machine of QEMU uses.
const REGIONS_MAX: usize = 64;

/// QEMU's `-append` has no limit of its own; Linux takes 2 KiB.
const COMMAND_LINE_MAX: usize = 4096;

/// A copy of the loader's information: its own memory may become heap.
pub struct BootInfo {
    regions: [Region; REGIONS_MAX],
    region_count: usize,
    command_line: [u8; COMMAND_LINE_MAX],
    command_line_len: usize,
}

impl BootInfo {
    /// Copies what the loader left at `address`.
    ///
    /// # Safety
    /// `address` must be what the PVH entry got in ebx, and nothing may have
    /// been written to the loader's memory since.
    pub unsafe fn copy(address: usize) -> Self {
        // SAFETY: by the PVH boot ABI, `address` points to this structure, and
        // the low 4 GiB are mapped one to one.
        let start: StartInfo = unsafe { ptr::read_unaligned(address as *const StartInfo) };
        assert!(
            start.magic == START_INFO_MAGIC && start.version >= 1,
            "expected a PVH loader with a memory map: magic {:#x}, version {}",
            start.magic,
            start.version,
        );
        let mut info = Self {
            regions: [Region::new(0, 0, 0); REGIONS_MAX],
            region_count: (start.memory_map_entries as usize).min(REGIONS_MAX),
            command_line: [0; COMMAND_LINE_MAX],
            command_line_len: 0,
        };
        for (index, region) in info.regions[..info.region_count].iter_mut().enumerate() {
            // SAFETY: the loader left `memory_map_entries` of these there.
            *region =
                unsafe { ptr::read_unaligned((start.memory_map as *const Region).add(index)) };
        }
        if start.command_line != 0 {
            for byte in &mut info.command_line {
                let at = start.command_line as usize + info.command_line_len;
                // SAFETY: the string goes on at least up to its zero, which
                // ends this loop.
                *byte = unsafe { ptr::read(at as *const u8) };
                if *byte == 0 {
                    break;
                }
                info.command_line_len += 1;
            }
        }
        info
    }

    /// The memory map.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.region_count]
    }

    /// The command line, up to its first byte that is not UTF-8.
    pub fn command_line(&self) -> &str {
        let bytes = &self.command_line[..self.command_line_len];
        match str::from_utf8(bytes) {
            Ok(line) => line,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        }
    }
}
