"""A socket that is made by io_uring(7), which no filter sees: operations in a ring are no system calls.

`setup` is how io_uring_setup(2) ended, `enter` and `register` how the other two calls did without a ring. `domain` is
the family of the socket that an operation made, `errno` why it did not, and both are None where there is no ring.
"""

from __future__ import annotations

import mmap
import os
import struct

import _kernel

ENTRIES = 4
IORING_OFF_SQ_RING, IORING_OFF_CQ_RING, IORING_OFF_SQES = 0, 0x8000000, 0x10000000
IORING_OP_SOCKET = 45
IORING_ENTER_GETEVENTS = 1
IORING_UNREGISTER_BUFFERS = 1
NO_DESCRIPTOR = -1
AF_VSOCK, SOCK_STREAM = 40, 1
SOL_SOCKET, SO_DOMAIN = 1, 39
PARAMETERS = struct.Struct("=10I 8I Q 8I Q")  # struct io_uring_params with its offsets into both rings


def observe() -> dict[str, object]:
    return {
        "enter": _kernel.attempt_syscall("io_uring_enter", NO_DESCRIPTOR, 0, 0, 0, None, 0),
        "register": _kernel.attempt_syscall("io_uring_register", NO_DESCRIPTOR, IORING_UNREGISTER_BUFFERS, None, 0),
        **_set_up(),
    }


def _set_up() -> dict[str, object]:
    parameters = bytearray(PARAMETERS.size)
    try:
        ring = _kernel.syscall("io_uring_setup", ENTRIES, parameters)
    except OSError as error:
        return {"setup": {"errno": _kernel.errno_name(error.errno)}, "domain": None, "errno": None}
    try:
        result = _make_socket(ring, PARAMETERS.unpack(parameters))
    except OSError as error:  # of io_uring_enter(2), which a filter may deny all the same
        result = -(error.errno or 0)
    if result < 0:
        return {"setup": {"errno": None}, "domain": None, "errno": _kernel.errno_name(-result)}
    domain = bytearray(4)
    _kernel.syscall("getsockopt", result, SOL_SOCKET, SO_DOMAIN, domain, bytearray(b"\4\0\0\0"))
    return {"setup": {"errno": None}, "domain": int.from_bytes(domain, "little"), "errno": None}


def _make_socket(ring: int, parameters: tuple[int, ...]) -> int:
    """Put one operation into the ring and return its result."""
    sq_tail, sq_array = parameters[11], parameters[16]
    cq_head, cq_entries = parameters[19], parameters[24]
    submissions = mmap.mmap(ring, sq_array + 4 * ENTRIES, mmap.MAP_SHARED, offset=IORING_OFF_SQ_RING)
    entries = mmap.mmap(ring, 64 * ENTRIES, mmap.MAP_SHARED, offset=IORING_OFF_SQES)
    # struct io_uring_sqe: opcode, flags, ioprio, fd (the family), off (the type), addr, len (the protocol)
    entries[:32] = struct.pack("=BBHiQQII", IORING_OP_SOCKET, 0, 0, AF_VSOCK, SOCK_STREAM, 0, 0, 0)
    submissions[sq_array : sq_array + 4] = struct.pack("=I", 0)
    submissions[sq_tail : sq_tail + 4] = struct.pack("=I", 1)
    _kernel.syscall("io_uring_enter", ring, 1, 1, IORING_ENTER_GETEVENTS, None, 0)
    completions = mmap.mmap(ring, cq_entries + 16 * 2 * ENTRIES, mmap.MAP_SHARED, offset=IORING_OFF_CQ_RING)
    (head,) = struct.unpack_from("=I", completions, cq_head)
    _data, result, _flags = struct.unpack_from("=QiI", completions, cq_entries + 16 * head)
    os.close(ring)
    return int(result)
