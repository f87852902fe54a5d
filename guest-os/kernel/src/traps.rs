//! Where exceptions, interrupts and waits enter ring 0: the stubs of `traps.s`, and the table that
//! leads to them.

use core::arch::global_asm;

use x86_64::registers::segmentation::SegmentSelector;
use x86_64::{PrivilegeLevel, VirtAddr};

use crate::boot::{IDT, KERNEL_CODE, TSS, USER_CODE, USER_DATA};
use crate::fault::report_exception;
use crate::interrupts::{END_OF_INTERRUPT, INTERRUPTS, SPURIOUS_VECTOR};

/// Vectors below are exceptions (SDM 3A, table 7-1).
const FIRST_INTERRUPT: u8 = 32;
const BREAKPOINT: usize = 3;
const STUB_STRIDE: usize = 16;

global_asm!(
    include_str!("traps.s"),
    interrupts = sym INTERRUPTS,
    end_of_interrupt = const END_OF_INTERRUPT,
    stub_stride = const STUB_STRIDE,
    user_data = const USER_DATA,
    user_code = const USER_CODE,
    report = sym report_exception,
);

unsafe extern "C" {
    static wait_gate: u8;
    static interrupt_stub: u8;
    static spurious_stub: u8;
    static exception_stubs: u8;
    static gate_stack_top: u8;
    static exception_stack_top: u8;
}

/// Fills in the tables that the CPU consults for traps. Comes first of all:
/// until then an exception is a triple fault.
///
/// # Safety
/// To be called once, before the first [`wait`](crate::interrupts::wait).
pub unsafe fn install() {
    let tss = TSS.get();
    // SAFETY: there is no other reference to the segment, and no trap can read it now.
    let segment = unsafe { &mut (*tss).segment };
    // The gate and the interrupts that end its wait nest on one stack;
    // exceptions have theirs, so that one in the gate finds it whole.
    segment.privilege_stack_table[0] = VirtAddr::from_ptr(&raw const gate_stack_top);
    segment.interrupt_stack_table[0] = VirtAddr::from_ptr(&raw const exception_stack_top);

    // SAFETY: as above.
    let idt = unsafe { &mut *IDT.get() };
    for (vector, entry) in idt.iter_mut().enumerate() {
        let stub = if vector == BREAKPOINT {
            &raw const wait_gate
        } else if vector < usize::from(FIRST_INTERRUPT) {
            (&raw const exception_stubs).wrapping_add(vector * STUB_STRIDE)
        } else if vector == usize::from(SPURIOUS_VECTOR) {
            &raw const spurious_stub
        } else {
            &raw const interrupt_stub
        };
        // SAFETY: each stub takes the frame of its vector and leaves by iretq
        // (traps.s), the selector is that of ring 0's 64-bit code, and the
        // first IST stack serves nothing but exceptions, which do not nest:
        // their stub never returns.
        unsafe {
            let options = entry.set_handler_addr(VirtAddr::from_ptr(stub));
            options.set_code_selector(SegmentSelector(KERNEL_CODE));
            if vector == BREAKPOINT {
                options.set_privilege_level(PrivilegeLevel::Ring3);
            } else if vector < usize::from(FIRST_INTERRUPT) {
                options.set_stack_index(0);
            }
        }
    }
}
