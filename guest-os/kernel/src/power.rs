//! The end of the guest, and of its QEMU.

use guest_kernel::exit;
use guest_runtime::port::Exit;
use x86_64::instructions::port::Port;

use crate::interrupts;
use crate::mmio::Mmio;
use crate::pci::ConfigSpace;
use crate::serial;

/// PM1 control and its "soft off" of a PC: PMBASE + 4, where firmware puts it
/// (ACPI 6.4, 4.8.3.2.1: SLP_TYP 0, SLP_EN).
const PM1_CONTROL: u16 = 0x604;
const PM1_SOFT_OFF: u16 = 1 << 13;

/// The sleep control register of a microvm and its "soft off"
/// (ACPI 6.4, 4.8.3.7: SLP_TYP 5, SLP_EN).
const MICROVM_SLEEP_CONTROL: u64 = 0xfea0_0200;
const MICROVM_SOFT_OFF: u8 = 5 << 2 | 1 << 5;

/// Ends QEMU with the status of `exit`.
///
/// Without an exit device, a success powers the machine off, and a failure
/// halts with its output on the screen: powering off would give QEMU's status 0,
/// which means success.
pub fn end(exit: Exit) -> ! {
    serial::drain();
    let value = match exit {
        Exit::Success => exit::SUCCESS,
        Exit::Failure => exit::FAILURE,
    };
    // SAFETY: nothing but the exit device answers on this port.
    unsafe { Port::<u32>::new(exit::PORT).write(value) };
    if exit == Exit::Success {
        power_off();
    }
    loop {
        interrupts::wait();
    }
}

fn power_off() {
    match ConfigSpace::find() {
        Some(ConfigSpace::Ports) => {
            // SAFETY: a PC has its power management registers here; the write
            // ends the machine.
            unsafe { Port::<u16>::new(PM1_CONTROL).write(PM1_SOFT_OFF) };
        }
        Some(ConfigSpace::Ecam) => {
            // SAFETY: only a microvm has ECAM without configuration ports, and
            // it has its sleep registers here.
            let control = unsafe { Mmio::new(MICROVM_SLEEP_CONTROL, 1) };
            control.write(0, MICROVM_SOFT_OFF);
        }
        None => {}
    }
}
