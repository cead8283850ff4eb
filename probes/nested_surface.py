"""Makes user, mount and network namespaces and tries what of the kernel opens up to the root of those."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

AF_NETLINK = 16
AF_PACKET = 17
SOCK_RAW = 3
NETLINK_NETFILTER = 12
FILE_SYSTEMS = ["tmpfs", "ramfs", "devpts", "cgroup2", "binfmt_misc"]


def observe() -> dict[str, object]:
    """Report the `errno` of unshare(2) and, where that worked, what was `reachable` then."""
    return {"errno": None, "reachable": [], **_kernel.in_child(_look_around)}


def _look_around() -> dict[str, object]:
    _kernel.enter_user_namespace(0, 0, _kernel.CLONE_NEWNS | _kernel.CLONE_NEWNET)
    ways: dict[str, Callable[[], object]] = {
        "packet socket": lambda: os.close(_kernel.syscall("socket", AF_PACKET, SOCK_RAW, 0)),
        "nfnetlink": lambda: os.close(_kernel.syscall("socket", AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)),
        "fsopen ext4": lambda: os.close(_kernel.syscall("fsopen", "ext4", _kernel.FSOPEN_CLOEXEC)),
        **{f"mount {kind}": _mounting(kind) for kind in FILE_SYSTEMS},
    }
    return {"reachable": [name for name, way in ways.items() if _kernel.attempt(way)["errno"] is None]}


def _mounting(kind: str) -> Callable[[], object]:
    return lambda: _kernel.syscall("mount", kind, "/tmp", kind, 0, None)
