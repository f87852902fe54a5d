// The memory functions that compiled Rust calls. In assembly, because a
// compiler may turn a loop in memcpy into a call of memcpy.
//
// Copies of more than 32 bytes are `rep movsq`: measured on 4 KiB, it moves
// twice the bytes of a loop over SSE2 registers under TCG as on a CPU, and
// `rep movsb` a tenth of them under TCG. What is no multiple of 8 was loaded
// before the loop, which may overwrite it, and is stored last, over neighbours.
// Labels start at 2: an assembler may read `1b` as a binary number.

.section .text.string, "ax", @progbits
.code64

// rax = memmove(rdi = destination, rsi = source, rdx = length)
.global memcpy
.global memmove
memcpy:
memmove:
    mov rax, rdi
    cmp rdx, 16
    jb 7f
    cmp rdx, 32
    ja 2f
    movups xmm0, [rsi]
    movups xmm1, [rsi + rdx - 16]
    movups [rdi], xmm0
    movups [rdi + rdx - 16], xmm1
    ret
2:  mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb 5f                       // the destination starts inside the source

    mov r9, [rsi + rdx - 8]     // upwards
    lea r8, [rdi + rdx - 8]
    mov rcx, rdx
    shr rcx, 3
    rep movsq
    mov [r8], r9
    ret
5:  mov r9, [rsi]               // downwards
    lea rsi, [rsi + rdx - 8]
    lea rdi, [rdi + rdx - 8]
    mov rcx, rdx
    shr rcx, 3
    std
    rep movsq
    cld
    mov [rax], r9
    ret

    // Fewer than 16 bytes.
7:  cmp edx, 8
    jb 2f
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
2:  cmp edx, 4
    jb 3f
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
3:  test edx, edx
    jz 4f
    mov r9, rdx
    shr r9, 1
    mov cl, [rsi]
    mov r8b, [rsi + rdx - 1]
    mov r10b, [rsi + r9]
    mov [rdi], cl
    mov [rdi + r9], r10b
    mov [rdi + rdx - 1], r8b
4:  ret

// rax = memset(rdi = destination, esi = byte, rdx = length)
.global memset
memset:
    mov rax, rdi
    movzx ecx, sil
    mov r8, 0x0101010101010101
    imul rcx, r8
    cmp rdx, 16
    jb 5f
    movq xmm0, rcx
    punpcklqdq xmm0, xmm0
    lea r8, [rdi + rdx - 16]
    sub rdx, 64
    jb 3f
2:  movups [rdi], xmm0
    movups [rdi + 16], xmm0
    movups [rdi + 32], xmm0
    movups [rdi + 48], xmm0
    add rdi, 64
    sub rdx, 64
    jae 2b
3:  add rdx, 64 - 16
    jle 4f
2:  movups [rdi], xmm0
    add rdi, 16
    sub rdx, 16
    jg 2b
4:  movups [r8], xmm0
    ret
5:  cmp edx, 8
    jb 6f
    mov [rdi], rcx
    mov [rdi + rdx - 8], rcx
    ret
6:  cmp edx, 4
    jb 7f
    mov [rdi], ecx
    mov [rdi + rdx - 4], ecx
    ret
7:  test edx, edx
    jz 8f
    mov r9, rdx
    shr r9, 1
    mov [rdi], cl
    mov [rdi + r9], cl
    mov [rdi + rdx - 1], cl
8:  ret

// eax = memcmp(rdi, rsi, rdx = length); bcmp only asks whether it is zero.
.global memcmp
.global bcmp
memcmp:
bcmp:
    sub rdx, 8
    jb 3f
2:  mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne 6f
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    jae 2b
3:  add rdx, 8
    jz 5f
4:  movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jnz 7f
    inc rdi
    inc rsi
    dec rdx
    jnz 4b
5:  xor eax, eax
    ret
6:  bswap rax                   // the first byte that differs decides
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
7:  ret

// rax = strlen(rdi)
.global strlen
strlen:
    mov rax, rdi
2:  cmp byte ptr [rax], 0
    je 3f
    inc rax
    jmp 2b
3:  sub rax, rdi
    ret

// The prebuilt core names these two; with panic = abort nothing calls them.
.global rust_eh_personality
.global _Unwind_Resume
rust_eh_personality:
_Unwind_Resume:
    ud2
