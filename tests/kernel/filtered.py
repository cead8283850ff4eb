"""Calls made behind a filter, each for itself, and how each of them ended: as the kernel has it, not the emulation.

A filter may deny everything, so those who are behind it do nothing but these calls: a few machine instructions, run by
a thread of a child that has no open files, install it and walk a list. What a call returned is in shared memory.
What ended the thread shows in the end of the child: that only the thread has ended, that SIGSYS has ended all, or that
the handler of SIGSYS has been run, which is no memory, so that it ends with SIGSEGV.
"""

import ctypes
import mmap
import os
import resource
import signal
import struct
from collections.abc import Sequence

from harness.filters import Call
from harness.runtime.seccomp import ARCHITECTURES
from harness.runtime.syscalls import NUMBERS, PR, SECCOMP, invoke, sock_fprog

# An entry is ten words: how the kernel is entered, a number, six arguments, the result, and whether there is one.
SOURCE = """
        mov     %rdi, %r12              # the entry
call:   mov     8(%r12), %rax
        cmpq    $0, (%r12)
        jl      end
        jg      i386
        mov     16(%r12), %rdi
        mov     24(%r12), %rsi
        mov     32(%r12), %rdx
        mov     40(%r12), %r10
        mov     48(%r12), %r8
        mov     56(%r12), %r9
        syscall
        jmp     keep
i386:   mov     16(%r12), %rbx
        mov     24(%r12), %rcx
        mov     32(%r12), %rdx
        mov     40(%r12), %rsi
        mov     48(%r12), %rdi
        mov     56(%r12), %rbp
        int     $0x80
keep:   mov     %rax, 64(%r12)
        movq    $1, 72(%r12)
        add     $80, %r12
        jmp     call
end:    mov     $60, %eax               # exit, of this thread alone
        syscall
        ud2                             # the filter denies it even that
"""
ENTRY, RESULT, DONE = 10, 8, 9
SYSCALL, INT_80, END = 0, 1, -1
NOWHERE = 16  # no page is so low: vm.mmap_min_addr
PATIENCE = 20  # seconds; none of the calls may wait
ENDS = {0: "KILL_THREAD", -signal.SIGSYS: "KILL_PROCESS", -signal.SIGSEGV: "TRAP"}


def outcomes(code: bytes, program: bytes, flags: int, calls: Sequence[Call]) -> tuple[list[int], str]:
    """Make calls behind a filter; return what each returned, a negative errno if it failed, and how the last one ended.

    That is nothing where all of them returned. Without a program there is no filter. `code` is SOURCE, assembled.
    Raises OSError where the filter cannot be installed, AssertionError where the child ends as none of these calls
    should have it end.
    """
    filter = sock_fprog(len(program) // 8, program)
    install = [
        (SYSCALL, NUMBERS["prctl"][0], PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0),
        (SYSCALL, NUMBERS["seccomp"][0], SECCOMP.SET_MODE_FILTER, flags, ctypes.addressof(filter), 0, 0, 0),
    ]
    entries = [*(install if program else ()), *(_entry(call) for call in calls)]
    table = mmap.mmap(-1, 8 * ENTRY * (len(entries) + 1))
    for index, entry in enumerate([*entries, (END,)]):
        struct.pack_into(f"=q{len(entry) - 1}Q", table, 8 * ENTRY * index, *entry)
    child = os.fork()
    if child == 0:
        _live(code, ctypes.addressof(ctypes.c_char.from_buffer(table)))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    words = [struct.unpack_from(f"={ENTRY}q", table, 8 * ENTRY * index) for index in range(len(entries))]
    results = [entry[RESULT] for entry in words if entry[DONE]]
    if program:
        if results[1] < 0:
            raise OSError(-results[1], os.strerror(-results[1]))
        del results[:2]
    if len(results) == len(calls):
        return results, ""
    assert status in ENDS, status
    return results, ENDS[status]


def _entry(call: Call) -> tuple[int, ...]:
    audit, number, arguments = call
    return (INT_80 if audit == ARCHITECTURES["SCMP_ARCH_X86"].audit else SYSCALL), number, *arguments


def _live(code: bytes, table: int) -> None:
    """Have a thread walk the table, and wait for its end. Never returns."""
    try:
        signal.alarm(PATIENCE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in (signal.SIGSEGV, signal.SIGILL):  # pytest's way to tell of them is one more program
            signal.signal(number, signal.SIG_DFL)
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        start = ctypes.addressof(ctypes.c_char.from_buffer(page))
        library = ctypes.CDLL(None)
        library.signal(signal.SIGSYS, ctypes.c_void_p(NOWHERE))
        invoke("close_range", 0, 0xFFFFFFFF, 0)
        thread = ctypes.c_ulong()
        library.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(start), ctypes.c_void_p(table))
        library.pthread_join(thread, None)
        os._exit(0)
    finally:
        os._exit(1)
