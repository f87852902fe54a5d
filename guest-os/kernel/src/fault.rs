//! Faults of the guest itself: reports them and ends QEMU.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_runtime::port::Exit;

use crate::power;
use crate::serial::log;

/// Set by the first report, so that a fault in a report ends at once.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Names of the exceptions, by vector (SDM 3A, table 7-1).
const NAMES: [&str; 22] = [
    "divide error",
    "debug",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range",
    "invalid opcode",
    "device not available",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
];

fn begin() {
    if REPORTING.swap(true, Ordering::Relaxed) {
        power::end(Exit::Failure);
    }
}

/// Where `traps.s` sends every exception, in ring 3 on a stack of its own.
pub extern "sysv64" fn report_exception(
    vector: u64,
    error: u64,
    rip: u64,
    cr2: u64,
    rsp: u64,
    cs: u64,
) -> ! {
    begin();
    let name = NAMES.get(vector as usize).unwrap_or(&"reserved");
    log(format_args!(
        "exception {vector} ({name}): rip {rip:#x}, error {error:#x}, cr2 {cr2:#x}, \
         rsp {rsp:#x}, ring {}",
        cs & 3
    ));
    power::end(Exit::Failure)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    log(format_args!("{info}"));
    power::end(Exit::Failure)
}
