"""Makes namespaces in a user namespace of its own, one after the other, until the kernel refuses."""

from __future__ import annotations

import os

import _kernel


def observe(most: int = 30) -> dict[str, object]:
    """Report by kind the `count` of those made, at most so many, and the errno of the refusal.

    Each of `mnt` and `net` is held by a descriptor, and of `user` each is in the one before. A process of its own does
    it all, for what has been let go is counted for a while yet.
    """
    nothing: dict[str, object] = {"count": 0, "errno": None}
    return {"mnt": nothing, "net": nothing, "user": nothing, **_kernel.in_child(lambda: _flood(most))}


def _flood(most: int) -> dict[str, object]:
    first = _kernel.until_refused(_nest, 1)
    if first["errno"] is not None:
        return {"user": first}
    return {
        "mnt": _kernel.until_refused(lambda _: _make("mnt", _kernel.CLONE_NEWNS), most),
        "net": _kernel.until_refused(lambda _: _make("net", _kernel.CLONE_NEWNET), most),
        "user": _kernel.until_refused(_nest, most, done=1),
    }


def _make(name: str, flag: int) -> None:
    _kernel.syscall("unshare", flag)
    os.open(f"/proc/self/ns/{name}", os.O_RDONLY)


def _nest(_: int) -> None:
    """Enter a new user namespace in which one's own ids are those that they are."""
    _kernel.enter_user_namespace(os.getuid(), os.getgid())
