//! The guest's kernel: a freestanding image that QEMU boots by its PVH note.
//!
//! All Rust runs in ring 3 with interrupts off; ring 0 is the assembly of
//! `boot.s` and `traps.s`. One CPU, one address space mapped one to one, no
//! processes: the kernel is what [`guest_runtime::run`] needs of a machine.
//!
//! - [`boot`], [`memory`], [`heap`], [`pages`], [`paging`]: from the loader to an allocator
//! - [`traps`], [`interrupts`], [`clock`]: exceptions, rest and time
//! - [`pci`], [`mmio`], [`transport`], [`dma`]: virtio devices in general
//! - [`disk`]: disks in general, [`port`]: the vSSD; [`console`], [`serial`]: two ways to talk
//! - [`machine`]: all of it behind the runtime's traits
//! - [`fault`], [`power`]: the end
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod clock;
mod console;
mod disk;
mod dma;
mod fault;
mod heap;
mod interrupts;
mod machine;
mod memory;
mod mmio;
mod pages;
mod paging;
mod pci;
mod port;
mod power;
mod serial;
mod transport;
mod traps;

use boot::BootInfo;
use guest_runtime::port::Exit;
use machine::Guest;
use serial::log;

/// Where `boot.s` enters Rust, in ring 3, with what the loader left in ebx.
extern "sysv64" fn start(start_info: usize) -> ! {
    let entry_tsc = clock::tsc();
    // SAFETY: this is the one entry, so each of these runs once, in an order
    // that has traps before anything can fault and the loader's information
    // copied before the heap may overwrite it.
    let (info, guest) = unsafe {
        traps::install();
        serial::init();
        let info = BootInfo::copy(start_info);
        let ram_bytes = memory::init(&info);
        (info, Guest::start(ram_bytes, entry_tsc))
    };
    match guest {
        Ok(mut guest) => {
            let exit = guest_runtime::run(&mut guest, info.command_line());
            guest.end(exit)
        }
        Err(error) => {
            log(format_args!("cannot start: {error}"));
            power::end(Exit::Failure)
        }
    }
}
