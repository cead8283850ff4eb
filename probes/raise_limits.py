"""Tries to lift its own limits, by a cgroup file system that it mounts in namespaces of its own."""

from __future__ import annotations

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

POINT = "/tmp"
FILES = (
    # type of the file system, its options, and the files with what lifts the limit, in the order that the kernel takes
    ("cgroup", "memory", (("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1"))),
    ("cgroup", "pids", (("pids.max", "max"),)),
    ("cgroup2", None, (("memory.max", "max"), ("pids.max", "max"))),
)


def observe() -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report the errno of `unshare`, of each of `mounts`, and of writing each file in `attempts`.

    A cgroup namespace that is made now has the container's own cgroup for its root, and that one's files are all that
    can be reached. Only hierarchies that the container is in are mounted: for others the mount would be a new one.
    """
    facts = _kernel.in_child(_lift)
    yield facts
    return facts


def _lift() -> dict[str, object]:
    own = {line.split(":")[1] for line in _kernel.read_text("/proc/self/cgroup").splitlines()}
    # One after the other, for a cgroup namespace of this user namespace's is to be had only inside it.
    for flags in (_kernel.CLONE_NEWUSER, _kernel.CLONE_NEWNS | _kernel.CLONE_NEWCGROUP):
        unshare = _kernel.attempt_syscall("unshare", flags)
        if unshare["errno"] is not None:
            return {"unshare": unshare, "mounts": {}, "attempts": {}}
    mounts: dict[str, object] = {}
    attempts: dict[str, object] = {}
    for kind, controller, files in FILES:
        if (controller or "") not in own:
            continue
        mount = _kernel.attempt_syscall("mount", "cgroup", POINT, kind, 0, controller)
        mounts[controller or "unified"] = mount
        if mount["errno"] is None:
            attempts.update({file: _write(f"{POINT}/{file}", text) for file, text in files})
    return {"unshare": {"errno": None}, "mounts": mounts, "attempts": attempts}


def _write(path: str, text: str) -> dict[str, object]:
    return _kernel.attempt(lambda: _kernel.write(path, text))
