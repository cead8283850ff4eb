"""The machine instructions that clone a child and walk its table of system calls: `harness.runtime.replay`.

They are given a context of four words: the address of a struct clone_args, its size, the address of the table, and a
word for the entry that failed. An entry of the table is ten words: the number of a system call, its six arguments, the
address of the errnos (negative) that are as good as success, the result, and the addresses that want the result, 32
bits each. Both lists end with a zero. The table has no end: its last call is execve(2), or one that fails.

The two sources below are assembled by a test, which compares.
"""

import contextlib
import ctypes
import functools
import mmap
import platform
from collections.abc import Callable

from harness.runtime.syscalls import invoke

ENTRY = 10  # words
ERRNOS, RESULT, USERS = 7, 8, 9  # which word of an entry is which
FAILED = 3  # which word of the context
STATUS = 125  # of a child that has failed

X86_64 = """
        push    %rbx
        push    %rbp
        mov     %rdi, %rbx              # the context
        mov     $435, %eax              # clone3
        mov     (%rbx), %rdi
        mov     8(%rbx), %rsi
        syscall
        test    %rax, %rax
        jz      child
        pop     %rbp
        pop     %rbx
        ret
child:  mov     16(%rbx), %rbp          # the entry
call:   mov     (%rbp), %rax
        mov     8(%rbp), %rdi
        mov     16(%rbp), %rsi
        mov     24(%rbp), %rdx
        mov     32(%rbp), %r10
        mov     40(%rbp), %r8
        mov     48(%rbp), %r9
        syscall
        mov     %rax, 64(%rbp)
        test    %rax, %rax
        jns     tell
        mov     56(%rbp), %rcx
allow:  mov     (%rcx), %rdx
        test    %rdx, %rdx
        jz      fail
        add     $8, %rcx
        cmp     %rdx, %rax
        jne     allow
        mov     $-1, %eax
tell:   mov     72(%rbp), %rcx
user:   mov     (%rcx), %rdx
        test    %rdx, %rdx
        jz      next
        mov     %eax, (%rdx)
        add     $8, %rcx
        jmp     user
next:   add     $80, %rbp
        jmp     call
fail:   mov     %rbp, 24(%rbx)
        mov     $231, %eax              # exit_group
        mov     $125, %edi
        syscall
"""

AARCH64 = """
        mov     x9, x0                  // the context
        mov     x8, #435                // clone3
        ldr     x0, [x9]
        ldr     x1, [x9, #8]
        svc     #0
        cbz     x0, child
        ret
child:  ldr     x10, [x9, #16]          // the entry
call:   ldr     x8, [x10]
        ldp     x0, x1, [x10, #8]
        ldp     x2, x3, [x10, #24]
        ldp     x4, x5, [x10, #40]
        svc     #0
        str     x0, [x10, #64]
        tbz     x0, #63, tell
        ldr     x11, [x10, #56]
allow:  ldr     x12, [x11], #8
        cbz     x12, fail
        cmp     x12, x0
        b.ne    allow
        mov     x0, #-1
tell:   ldr     x11, [x10, #72]
user:   ldr     x12, [x11], #8
        cbz     x12, next
        str     w0, [x12]
        b       user
next:   add     x10, x10, #80
        b       call
fail:   str     x10, [x9, #24]
        mov     x8, #94                 // exit_group
        mov     x0, #125
        svc     #0
"""

CODE = {
    "x86_64": bytes.fromhex(
        "53554889fbb8b3010000488b3b488b73080f054885c074035d5bc3488b6b10488b4500488b7d08488b7510488b55184c8b55"
        "204c8b45284c8b4d300f05488945404885c0791a488b4d38488b114885d274284883c1084839d075efb8ffffffff488b4d48"
        "488b114885d2740889024883c108ebf04883c550eba548896b18b8e7000000bf7d0000000f05"
    ),
    "aarch64": bytes.fromhex(
        "e90300aa683680d2200140f9210540f9010000d4400000b4c0035fd62a0940f9480140f9408540a9428d41a9449542a90100"
        "00d4402100f9e000f8b64b1d40f96c8540f86c0100b49f0100eba1ffff54000080924b2540f96c8540f86c0000b4800100b9"
        "fdffff174a410191edffff172a0d00f9c80b80d2a00f80d2010000d4"
    ),
}


@functools.cache
def function() -> Callable[[int], int] | None:
    """Return the instructions as a function of the context's address, which gives up the interpreter's lock.

    None where there are none for this machine, or a security policy lets no process make code at run time.
    """
    code = CODE.get(platform.machine())
    if code is None:
        return None
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    with contextlib.suppress(OSError):
        invoke("mprotect", address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
        made = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(address)
        made.page = page  # type: ignore[attr-defined]  # which must live as long
        return made
    return None
