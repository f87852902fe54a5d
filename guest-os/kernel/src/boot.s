// From the PVH entry (Xen: docs/misc/pvh.pandoc, "x86/HVM direct boot ABI")
// to Rust in ring 3.
//
// On entry: 32-bit protected mode, flat segments, paging off, interrupts off,
// ebx = address of hvm_start_info. On leaving: 64-bit mode, ring 3, interrupts
// off, the low 4 GiB mapped one to one, rdi = address of hvm_start_info.
//
// No instruction of Rust ever runs in ring 0: what the tables contain is
// either constant here or filled in by ring 3, which may write to all memory.

.section .note.pvh, "a", @note
    .balign 4
    .long 4                     // bytes of the name
    .long 8                     // bytes of the descriptor
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

.section .text.boot, "ax", @progbits
.code32
.global pvh_entry
pvh_entry:
    cld
    mov edi, ebx

    // CR4: PAE for long mode, OSFXSR and OSXMMEXCPT for SSE (SDM 3A, 2.5).
    mov eax, 0x620
    mov cr4, eax
    mov eax, offset page_map_level_4
    mov cr3, eax

    // EFER.LME, then CR0.PG enters long mode (SDM 3A, 11.8.5).
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    and eax, 0xfffffff3         // no FPU emulation, no lazy FPU switch
    or eax, 0x80000003          // paging, monitor coprocessor, protection
    mov cr0, eax

    lgdt [gdt_pointer]
    ljmp {kernel_code}, offset long_mode

.code64
long_mode:
    mov eax, {kernel_data}
    mov ss, eax
    mov eax, {user_data}
    mov ds, eax
    mov es, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    lea rsp, [rip + gate_stack_top]

    // The one descriptor that holds an address, which no constant can.
    lea rax, [rip + {tss}]
    mov word ptr [rip + {gdt} + {tss_selector} + 2], ax
    shr eax, 16
    mov byte ptr [rip + {gdt} + {tss_selector} + 4], al
    mov byte ptr [rip + {gdt} + {tss_selector} + 7], ah
    mov eax, {tss_selector}
    ltr ax
    lidt [rip + idt_pointer]

    // Ring 3, with IF = 0 and so for good: with IOPL = 0 it cannot set it.
    // The stack is as after a call: 8 short of a multiple of 16.
    push {user_data}
    lea rax, [rip + stack_top - 8]
    push rax
    push 2
    push {user_code}
    lea rax, [rip + {main}]
    push rax
    xor ebp, ebp
    iretq

.section .data.boot, "aw", @progbits
    .balign 8
gdt_pointer:
    .word {gdt_limit}
    .quad {gdt}
    .balign 8
idt_pointer:
    .word {idt_limit}
    .quad {idt}

// The low 4 GiB, one to one, for ring 3: 7 = present, writable, user; bit 7
// in a directory's entry = a page of 2 MiB (SDM 3A, 5.5.4). Constant, because
// a loop that fills 2,560 entries is slow where ring 0 is interpreted.
    .balign 4096
.global page_map_level_4
page_map_level_4:
    .quad page_directory_pointers + 7
    .fill 511, 8, 0
page_directory_pointers:
    .quad page_directories + 0x0007
    .quad page_directories + 0x1007
    .quad page_directories + 0x2007
    .quad page_directories + 0x3007
    .fill 508, 8, 0
page_directories:
    .quad low_page_table + 7
    .set address, 0x200000
    .rept 2047
    .quad address + 0x87
    .set address, address + 0x200000
    .endr
// The first 2 MiB in pages of 4 KiB, without the stack's guard. Page 0 is for
// reading only (5 = present, user): a write through a null pointer faults, but
// SeaBIOS's loader leaves its information there.
low_page_table:
    .quad 5
    .set address, 0x1000
    .rept 511
    .if address == 0x100000
    .quad 0
    .else
    .quad address + 7
    .endif
    .set address, address + 0x1000
    .endr

.section .bss.stacks, "aw", @nobits
    .balign 16
    .skip 4096
.global gate_stack_top
gate_stack_top:
    .skip 4096
.global exception_stack_top
exception_stack_top:
    .skip 16384
.global fault_stack_top
fault_stack_top:
