"""Opens a file of root's in a user namespace of its own, whose map has more extents than the kernel keeps in place."""

from __future__ import annotations

import os

import _kernel

EXTENTS = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 995)]  # five fit into struct uid_gid_map itself


def observe(path: str) -> dict[str, object]:
    """Report how `unshare`, writing the `maps` and opening the file for `read` there ended."""
    return _kernel.in_child(lambda: _open_in_nested(path))


def _open_in_nested(path: str) -> dict[str, object]:
    """The maps are written from outside, by whoever has CAP_SETUID there: from inside only one extent could be."""
    ready, say_ready = os.pipe()
    written, say_written = os.pipe()
    inner = os.getpid()
    mapper = os.fork()
    if mapper == 0:
        os.read(ready, 1)
        outcome = _kernel.attempt(lambda: _write_maps(inner))
        os.write(say_written, str(outcome["errno"]).encode())
        os._exit(0)
    unshare = _kernel.attempt_syscall("unshare", _kernel.CLONE_NEWUSER)["errno"]
    os.write(say_ready, b".")
    maps = os.read(written, 64).decode()
    os.waitpid(mapper, 0)
    return {
        "unshare": unshare,
        "maps": None if maps == "None" else maps,
        "read": _kernel.attempt_open(path)["errno"],
    }


def _write_maps(pid: int) -> None:
    text = "".join(f"{first} {first} {size}\n" for first, size in EXTENTS)
    for name in ("uid_map", "gid_map"):
        _kernel.write(f"/proc/{pid}/{name}", text)
