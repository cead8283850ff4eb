"""Makes device nodes wherever it can write, and opens them: a name for a device that the container has not got."""

from __future__ import annotations

import os
import stat

import _kernel

NAME = "isoproof-device"
DIRECTORIES = ("/", "/tmp", "/run", "/var/tmp", "/etc")
# The log of the kernel, opened for writing only, and the control of loop devices: nothing happens by opening them.
DEVICES = ((1, 11), (10, 237))


def observe() -> dict[str, object]:
    """Report `attempts`: for each "directory major:minor" the results of `mknod` and, where that worked, of `open`."""
    attempts: dict[str, object] = {}
    for directory in sorted({*_kernel.mount_points(), *DIRECTORIES}):
        if _kernel.attempt_create(f"{directory}/{NAME}")["errno"] is None:
            for major, minor in DEVICES:
                attempts[f"{directory} {major}:{minor}"] = _attempt(f"{directory}/{NAME}", os.makedev(major, minor))
    return {"attempts": attempts}


def _attempt(path: str, device: int) -> dict[str, object]:
    made = _kernel.attempt(lambda: os.mknod(path, stat.S_IFCHR | 0o666, device))
    if made["errno"] is not None:
        return {"mknod": made, "open": None}
    try:
        return {"mknod": made, "open": _kernel.attempt_open(path, os.O_WRONLY | os.O_NONBLOCK)}
    finally:
        os.unlink(path)
