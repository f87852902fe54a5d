// All that ring 0 does after boot.

.section .text.traps, "ax", @progbits
.code64

// int3 from ring 3: rest until an interrupt. `sti` takes effect after the
// next instruction (SDM 2B, STI), so an interrupt that is pending already
// ends the `hlt` at once. Interrupts are on nowhere else.
.global wait_gate
wait_gate:
    sti
    hlt
    cli
    iretq

// Every interrupt: count it and tell the local APIC. Which device it came
// from does not matter, since ring 3 looks at all its queues after a rest.
.global interrupt_stub
interrupt_stub:
    push rax
    inc qword ptr [rip + {interrupts}]
    mov eax, {end_of_interrupt}
    mov dword ptr [rax], 0
    pop rax
    iretq

// The local APIC's spurious interrupt wants no acknowledgement (SDM 3A, 12.9).
.global spurious_stub
spurious_stub:
    iretq

// Exceptions: each stub pushes a zero where the CPU pushes no error code, then
// its vector, and goes on to report in ring 3. There is no way back, so no
// register is kept. The stubs are {stub_stride} bytes apart.
    .balign {stub_stride}
.global exception_stubs
exception_stubs:
    .irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .balign {stub_stride}
    // 8, 10 to 14, 17, 21, 29, 30 come with an error code (SDM 3A, table 7-1).
    .if ((0x60227d00 >> \vector) & 1) == 0
    push 0
    .endif
    push \vector
    jmp exception_report
    .endr

exception_report:
    pop rdi                     // vector
    pop rsi                     // error code
    mov rdx, [rsp]              // rip
    mov rcx, cr2
    mov r8, [rsp + 24]          // rsp
    mov r9, [rsp + 8]           // cs
    push {user_data}
    lea rax, [rip + fault_stack_top - 8]
    push rax
    push 2
    push {user_code}
    lea rax, [rip + {report}]
    push rax
    iretq
