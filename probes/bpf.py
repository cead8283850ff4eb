"""Has the kernel make a map and check a program, which is never attached to anything: bpf(2)."""

from __future__ import annotations

import ctypes
import struct

import _kernel

BPF_MAP_CREATE, BPF_PROG_LOAD = 0, 5
BPF_MAP_TYPE_QUEUE = 22
BPF_PROG_TYPE_KPROBE = 2
RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")
ATTRIBUTES = 128  # bytes of union bpf_attr, of which we set the first


def observe() -> dict[str, object]:
    """Report the errnos of two attempts, `map` and `program`.

    A queue takes CAP_BPF and a kprobe's program CAP_PERFMON as well, whatever kernel.unprivileged_bpf_disabled says.
    """
    code, license_ = ctypes.create_string_buffer(RETURN_ZERO), ctypes.create_string_buffer(b"GPL")
    instructions = len(RETURN_ZERO) // 8
    program = struct.pack(
        "=IIQQ", BPF_PROG_TYPE_KPROBE, instructions, ctypes.addressof(code), ctypes.addressof(license_)
    )
    return {
        "map": _attempt(BPF_MAP_CREATE, struct.pack("=4I", BPF_MAP_TYPE_QUEUE, 0, 4, 1)),
        "program": _attempt(BPF_PROG_LOAD, program),
    }


def _attempt(command: int, attributes: bytes) -> dict[str, object]:
    return _kernel.in_child(
        lambda: _kernel.attempt_syscall("bpf", command, attributes.ljust(ATTRIBUTES, b"\0"), ATTRIBUTES)
    )
