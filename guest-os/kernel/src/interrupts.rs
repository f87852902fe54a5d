//! Interrupts, and the one way to wait for them.
//!
//! Rust runs in ring 3 with interrupts off, always: IF is clear at entry and
//! IOPL is 0. An interrupt that arrives stays pending in the local APIC until
//! [`wait`] enters ring 0 by `int3`, which turns interrupts on for one `hlt`
//! (`traps.s`). Three things follow:
//!
//! - Interrupts never land in Rust code: no register of it needs saving.
//! - **Check-then-wait loses no wakeup.** A caller that finds a queue empty and calls [`wait`] is
//!   woken at once if the device used a buffer in between, because its interrupt is still pending.
//! - All vectors can share one stub that counts and acknowledges.
//!
//! A periodic timer backs every wait: QEMU before 8.1 with one vCPU under TCG
//! drops guest memory barriers, so that a device on another thread may miss
//! that it should interrupt.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::instructions::port::Port;

use crate::mmio::Mmio;

const TIMER_VECTOR: u8 = 0x40;
const SERIAL_VECTOR: u8 = 0x41;
/// The vector of every virtqueue.
pub const DEVICE_VECTOR: u8 = 0x50;
/// The vector of interrupts that were withdrawn, which want no acknowledgement.
pub const SPURIOUS_VECTOR: u8 = 0xff;

/// The local APIC's registers at their place after reset (SDM 3A, 12.4.1).
const LOCAL_APIC: u64 = 0xfee0_0000;
/// Where a handler acknowledges an interrupt.
pub const END_OF_INTERRUPT: u64 = LOCAL_APIC + 0xb0;
const APIC_ID: usize = 0x20;
const APIC_SPURIOUS: usize = 0xf0;
const APIC_SPURIOUS_ENABLE: u32 = 1 << 8;
const APIC_LVT_TIMER: usize = 0x320;
const APIC_LVT_MASKED: u32 = 1 << 16;
const APIC_LVT_PERIODIC: u32 = 1 << 17;
const APIC_TIMER_INITIAL: usize = 0x380;
const APIC_TIMER_CURRENT: usize = 0x390;
const APIC_TIMER_DIVIDE: usize = 0x3e0;
const APIC_DIVIDE_BY_1: u32 = 0b1011;

/// The I/O APIC that carries the ISA interrupts on every PC of QEMU.
const IO_APIC: u64 = 0xfec0_0000;
const IO_APIC_SELECT: usize = 0x00;
const IO_APIC_WINDOW: usize = 0x10;
const IO_APIC_REDIRECTION: u32 = 0x10;
const SERIAL_IRQ: u32 = 4;

/// Interrupts taken since boot, counted by the stub in `traps.s`.
pub static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// The local APIC of the one CPU.
pub struct LocalApic(Mmio);

impl LocalApic {
    /// Turns the local APIC on and the older interrupt controllers off.
    ///
    /// # Safety
    /// To be called once.
    pub unsafe fn enable() -> Self {
        mask_pics();
        // SAFETY: every x86-64 CPU has these registers there after reset,
        // firmware leaves them, and nothing else drives them.
        let apic = Self(unsafe { Mmio::new(LOCAL_APIC, 0x400) });
        apic.0.write::<u32>(
            APIC_SPURIOUS,
            APIC_SPURIOUS_ENABLE | u32::from(SPURIOUS_VECTOR),
        );
        apic.0.write(APIC_LVT_TIMER, APIC_LVT_MASKED);
        apic.0.write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
        apic
    }

    /// The ID by which interrupts are sent here.
    pub fn id(&self) -> u8 {
        (self.0.read::<u32>(APIC_ID) >> 24) as u8
    }

    /// Lets the timer count down once from its maximum, without interrupts.
    pub fn start_count(&self) {
        self.0.write(APIC_TIMER_INITIAL, u32::MAX);
    }

    /// Ticks since [`start_count`](Self::start_count).
    pub fn counted(&self) -> u32 {
        u32::MAX - self.0.read::<u32>(APIC_TIMER_CURRENT)
    }

    /// Interrupts every `ticks` of the timer from now on.
    pub fn start_ticking(&self, ticks: u32) {
        self.0
            .write::<u32>(APIC_LVT_TIMER, APIC_LVT_PERIODIC | u32::from(TIMER_VECTOR));
        self.0.write(APIC_TIMER_INITIAL, ticks);
    }

    /// Directs the serial port's interrupt here.
    pub fn route_serial(&self) {
        // SAFETY: the I/O APIC's two registers, driven from here alone.
        let io_apic = unsafe { Mmio::new(IO_APIC, 0x20) };
        let entry = IO_APIC_REDIRECTION + 2 * SERIAL_IRQ;
        // Edge-triggered, active high, fixed delivery to one APIC ID, unmasked.
        for (register, value) in [
            (entry + 1, u32::from(self.id()) << 24),
            (entry, u32::from(SERIAL_VECTOR)),
        ] {
            io_apic.write(IO_APIC_SELECT, register);
            io_apic.write(IO_APIC_WINDOW, value);
        }
    }
}

/// Firmware's timer would interrupt on a vector that is an exception's.
fn mask_pics() {
    for port in [0x21, 0xa1] {
        // SAFETY: the mask registers of the two 8259s; all ones blocks every
        // line and has no other effect.
        unsafe { Port::<u8>::new(port).write(0xff) };
    }
}

/// Halts until an interrupt arrives; returns at once when one is pending.
pub fn wait() {
    // SAFETY: `int3` enters `wait_gate`, which changes no register. The block
    // is not `nomem`, so memory that devices write is read again afterwards.
    unsafe { asm!("int3") };
}

/// Interrupts taken so far.
pub fn count() -> u64 {
    INTERRUPTS.load(Ordering::Relaxed)
}
