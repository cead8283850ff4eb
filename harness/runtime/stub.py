"""The machine instructions that clone a child and walk its table of system calls: `harness.runtime.replay`.

They are given a context of four words: the address of a struct clone_args, its size, the address of the table, and a
word for the entry that failed. Without clone_args they walk the table themselves, and return.

An entry of the table is ten words: the number of a system call, its six arguments, the address of the errnos (negative)
that are as good as success, the result, and the addresses that want the result, 32 bits each. Both lists end with a
zero. The table ends with a negative number; a child's with execve(2).

The two sources below are assembled by a test, which compares.
"""

import contextlib
import ctypes
import functools
import mmap
import platform
from collections.abc import Callable

from harness.runtime.syscalls import clone_args, invoke

ENTRY = 10  # words
ERRNOS, RESULT, USERS = 7, 8, 9  # which word of an entry is which
FAILED = 3  # which word of the context

X86_64 = """
        push    %rbx
        push    %rbp
        mov     %rdi, %rbx              # the context
        mov     (%rbx), %rdi
        test    %rdi, %rdi
        jz      walk                    # nobody to clone
        mov     8(%rbx), %rsi
        mov     $435, %eax              # clone3
        syscall
        test    %rax, %rax
        jnz     back
walk:   mov     16(%rbx), %rbp          # the entry
call:   mov     (%rbp), %rax
        test    %rax, %rax
        js      end
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
        cmpq    $0, (%rbx)
        je      end
        mov     $231, %eax              # exit_group
        mov     $125, %edi
        syscall
        ud2                             # a filter of the container's denies it even that
end:    xor     %eax, %eax
back:   pop     %rbp
        pop     %rbx
        ret
"""

AARCH64 = """
        mov     x9, x0                  // the context
        ldr     x0, [x9]
        cbz     x0, walk                // nobody to clone
        ldr     x1, [x9, #8]
        mov     x8, #435                // clone3
        svc     #0
        cbnz    x0, back
walk:   ldr     x10, [x9, #16]          // the entry
call:   ldr     x8, [x10]
        tbnz    x8, #63, end
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
        ldr     x0, [x9]
        cbz     x0, end
        mov     x8, #94                 // exit_group
        mov     x0, #125
        svc     #0
        brk     #0                      // a filter of the container's denies it even that
end:    mov     x0, #0
back:   ret
"""

CODE = {
    "x86_64": bytes.fromhex(
        "53554889fb488b3b4885ff7410488b7308b8b30100000f054885c0757e488b6b10488b45004885c0786f488b7d08488b7510"
        "488b55184c8b55204c8b45284c8b4d300f05488945404885c0791a488b4d38488b114885d274284883c1084839d075efb8ff"
        "ffffff488b4d48488b114885d2740889024883c108ebf04883c550eba048896b1848833b00740eb8e7000000bf7d0000000f"
        "050f0b31c05d5bc3"
    ),
    "aarch64": bytes.fromhex(
        "e90300aa200140f9a00000b4210540f9683680d2010000d4e00300b52a0940f9480140f96803f8b7408540a9428d41a94495"
        "42a9010000d4402100f9e000f8b64b1d40f96c8540f86c0100b49f0100eba1ffff54000080924b2540f96c8540f86c0000b4"
        "800100b9fdffff174a410191ecffff172a0d00f9200140f9a00000b4c80b80d2a00f80d2010000d4000020d4000080d2c003"
        "5fd6"
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


class Context:
    """What the instructions are given to walk a table, by this thread or by the child that it clones."""

    def __init__(self, table: "ctypes.Array[ctypes.c_int64]", arguments: clone_args | None = None) -> None:
        self.words = (ctypes.c_uint64 * 4)(
            ctypes.addressof(arguments) if arguments else 0, ctypes.sizeof(clone_args), ctypes.addressof(table), 0
        )
        self._address = ctypes.addressof(self.words)
        made = function()
        assert made
        self._function = made

    def walk(self) -> tuple[int, int]:
        """Return the child's process id, or a negative errno, or 0 without a child; and the entry that has failed."""
        self.words[FAILED] = 0
        return self._function(self._address), self.words[FAILED]
