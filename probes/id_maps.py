"""The id maps of a process, as this process's own user namespace counts ids: user_namespaces(7)."""

from __future__ import annotations

import _kernel


def observe(pid: int | str = "self") -> dict[str, object]:
    """Report `uid` and `gid`, each a list of [first id inside, first id outside, how many], and `setgroups`."""
    return {
        "uid": _extents(f"/proc/{pid}/uid_map"),
        "gid": _extents(f"/proc/{pid}/gid_map"),
        "setgroups": _kernel.read_text(f"/proc/{pid}/setgroups").strip(),
    }


def _extents(path: str) -> list[list[int]]:
    return [[int(number) for number in line.split()] for line in _kernel.read_text(path).splitlines()]
