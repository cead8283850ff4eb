"""Which parts of a file are in memory, by all that the kernel tells of it: who has read it lately is read from that."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

CACHESTAT = struct.Struct("=5Q")


def observe(path: str, offsets: list[int]) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report, when the host has acted, which of the `offsets` are in memory, or the errno of the question.

    It is asked by mincore(2), by cachestat(2) and by preadv2(2) with RWF_NOWAIT; the last one comes last, because the
    kernel may begin to read what it has not found.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    whole = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    yield {}
    ways: dict[str, Callable[[int], bool]] = {
        "mincore": lambda offset: _mincore(whole, offset),
        "cachestat": lambda offset: _cachestat(file, offset),
        "nowait": lambda offset: _read_without_waiting(file, offset),
    }
    return {name: _resident(offsets, is_resident) for name, is_resident in ways.items()}


def _resident(offsets: list[int], is_resident: Callable[[int], bool]) -> object:
    try:
        return [offset for offset in offsets if is_resident(offset)]
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}


def _mincore(whole: mmap.mmap, offset: int) -> bool:
    answer = bytearray(1)
    address = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    _kernel.syscall("mincore", address + offset, mmap.PAGESIZE, answer)
    return bool(answer[0] & 1)


def _cachestat(file: int, offset: int) -> bool:
    answer = bytearray(CACHESTAT.size)
    _kernel.syscall("cachestat", file, bytearray(struct.pack("=2Q", offset, mmap.PAGESIZE)), answer, 0)
    (pages, *_) = CACHESTAT.unpack(answer)
    return bool(pages)


def _read_without_waiting(file: int, offset: int) -> bool:
    try:
        return os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT) > 0
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        raise
