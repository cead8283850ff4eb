"""Makes namespaces in a user namespace of its own, one after the other, until the kernel refuses."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def observe(most: int = 30) -> dict[str, object]:
    """Report by kind how many were `made`, at most so many, and the errno of the refusal.

    Each of `mnt` and `net` is held by a descriptor, and of `user` each is in the one before. A process of its own does
    it all, for what has been let go is counted for a while yet.
    """
    nothing: dict[str, object] = {"made": 0, "errno": None}
    return {"mnt": nothing, "net": nothing, "user": nothing, **_kernel.in_child(lambda: _flood(most))}


def _flood(most: int) -> dict[str, object]:
    first = _count(_nest, 1)
    if first["errno"] is not None:
        return {"user": first}
    return {
        "mnt": _count(lambda: _make("mnt", _kernel.CLONE_NEWNS), most),
        "net": _count(lambda: _make("net", _kernel.CLONE_NEWNET), most),
        "user": _count(_nest, most, made=1),
    }


def _make(name: str, flag: int) -> None:
    _kernel.syscall("unshare", flag)
    os.open(f"/proc/self/ns/{name}", os.O_RDONLY)


def _nest() -> None:
    """Enter a new user namespace in which one's own ids are those that they are."""
    _kernel.enter_user_namespace(os.getuid(), os.getgid())


def _count(make: Callable[[], None], most: int, made: int = 0) -> dict[str, object]:
    while made < most:
        try:
            make()
        except OSError as error:
            return {"made": made, "errno": _kernel.errno_name(error.errno)}
        made += 1
    return {"made": made, "errno": None}
