//! How the guest ends QEMU with an exit status.
//!
//! QEMU's `isa-debug-exit` device, started with `iobase=0xf4,iosize=0x04`, ends
//! QEMU with status `2 * value + 1` when a value is written to it. Success has
//! a value of its own, because status 0 is also what a triple fault under
//! `-no-reboot` gives, and 1 what QEMU gives when it cannot start.

/// The I/O port of the exit device.
pub const PORT: u16 = 0xf4;

/// Written when all commands were carried out.
pub const SUCCESS: u32 = 0x10;

/// Written when a command failed, no vSSD was found, or the guest crashed.
pub const FAILURE: u32 = 0x11;

/// QEMU's exit status after [`SUCCESS`].
pub const QEMU_SUCCESS: i32 = qemu_status(SUCCESS);

/// QEMU's exit status after [`FAILURE`].
pub const QEMU_FAILURE: i32 = qemu_status(FAILURE);

const fn qemu_status(value: u32) -> i32 {
    (value << 1 | 1) as i32
}

const _: () = assert!(QEMU_SUCCESS == 33 && QEMU_FAILURE == 35);
