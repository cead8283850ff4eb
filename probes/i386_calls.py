"""System calls as a 32 bit program makes them, by int $0x80, beside the same calls made natively; x86_64 only.

A 64 bit program may do this as well. The numbers are others, so a filter that looks at numbers alone mistakes each for
another call.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAP_32BIT = 0x40  # mmap(2): below 2 GiB, where a pointer of 32 bits reaches
SIGCHLD = 17
BAD_ADDRESS = 1  # EFAULT, before any capability is asked for
AF_VSOCK, SOCK_STREAM = 40, 1
SYS_SOCKET, SEMGET = 1, 2  # the first arguments of socketcall(2) and ipc(2)
ABSENT_KEY = 0x15077  # of no semaphore set
KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING = 0, -3

# Loads eax, ebx, ecx, edx, esi, edi and ebp from the seven words that rdi points to.
STUB = bytes.fromhex("53 55 8b07 8b5f04 8b4f08 8b570c 8b7710 8b6f18 8b7f14 cd80 5d 5b c3")

CALLS: dict[str, tuple[int, tuple[int, ...]]] = {  # by name: the number on i386, and arguments
    "mount": (21, (BAD_ADDRESS,) * 5),
    "clone": (120, (_kernel.CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)),
    "keyctl": (288, (KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)),
    "unshare": (310, (_kernel.CLONE_NEWUSER,)),
    "bpf": (357, (0, BAD_ADDRESS, 8)),
    "socket": (359, (AF_VSOCK, SOCK_STREAM, 0)),
    "userfaultfd": (374, (1,)),
    "io_uring_setup": (425, (1, BAD_ADDRESS)),
    "clone3": (435, (BAD_ADDRESS, 64)),
}


def observe() -> dict[str, object]:
    """Report `calls`, how each ends natively and on i386, and `multiplexed`, the calls that hide others.

    Of those `socketcall` asks for a socket of AF_VSOCK, and `ipc` for a set of semaphores as `semget` does.
    """
    memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, 7)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[: len(STUB)] = STUB
    stub = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(address)

    def i386(number: int, *arguments: int) -> str:
        def make() -> dict[str, object]:
            words = struct.pack("=7I", number, *(each & 0xFFFFFFFF for each in (*arguments, *[0] * 6)[:6]))
            memory[512:540] = words
            return _ended(lambda: stub(address + 512))

        return _kernel.outcome(make)

    memory[1024:1036] = struct.pack("=3I", AF_VSOCK, SOCK_STREAM, 0)
    return {
        "calls": {
            name: {"native": _native(name, *arguments), "i386": i386(number, *arguments)}
            for name, (number, arguments) in CALLS.items()
        },
        "multiplexed": {
            "socketcall": i386(102, SYS_SOCKET, address + 1024),
            "ipc": i386(117, SEMGET, ABSENT_KEY, 0, 0),
            "semget": i386(393, ABSENT_KEY, 0, 0),
        },
    }


def _native(name: str, *arguments: int) -> str:
    return _kernel.outcome(lambda: _ended(lambda: _kernel.syscall(name, *arguments)))


def _ended(call: Callable[[], int]) -> dict[str, object]:
    process = os.getpid()
    result = call()
    if os.getpid() != process:
        os._exit(0)  # clone(2) got through, and this is its child
    return {"errno": _kernel.errno_name(-result) if result < 0 else None}
