"""What the host role has at hand before the first run: the kit, an image, runtimes that are served, a host's looks."""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from harness.backends import Backend, load
from harness.errors import HarnessError
from harness.outer import WORK
from harness.shapes import KIT

Facts = dict[str, Any]

IMAGE = Path(WORK, "image")  # a directory, or a link to one, where containers begin with an image
FIRST_PID = 20_000  # above any number that a process inside gets, so that a host's number cannot be mistaken for one
ADDRESS = "192.0.2.1"  # TEST-NET-1, an address of the host that is not loopback: RFC 5737
SIOCSIFADDR = 0x8916


def settle() -> None:
    """Make the sandbox a host: high process numbers, an address beside loopback, a place outside its cgroups."""
    with contextlib.suppress(OSError):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(FIRST_PID))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, contextlib.suppress(OSError):
        address = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(ADDRESS))
        fcntl.ioctl(control, SIOCSIFADDR, address)
    _leave_root_cgroup()


def _leave_root_cgroup() -> None:
    """Leave the cgroup that containers are made in: on version 2 one with processes hands no controllers down."""
    from harness.runtime.inspect import hierarchies

    for hierarchy in hierarchies(set()):
        if hierarchy.version == 2 and hierarchy.controllers and os.access(hierarchy.point, os.W_OK):
            with contextlib.suppress(OSError):
                own = Path(hierarchy.point, "host")
                own.mkdir()
                (own / "cgroup.procs").write_text("0")


def served(runtime: str) -> Backend:
    """Return a runtime that has what it makes containers by, such as a daemon, and keeps it until the sandbox ends.

    Raises HarnessError, every time, where that has failed once.
    """
    found = _served(runtime)
    if isinstance(found, str):
        raise HarnessError(found)
    return found


@functools.cache
def _served(runtime: str) -> Backend | str:
    """Return a runtime, or why it cannot be served."""
    backend = load(runtime)
    directory = Path(WORK, "runtimes", hashlib.sha256(runtime.encode()).hexdigest()[:8])
    directory.mkdir(parents=True)
    try:
        backend.serve(directory)
    except HarnessError as error:
        return str(error)
    return backend


def provide(kit: str, image: Facts | None) -> Facts:
    """Install the kit, and the image to begin containers with; return the answer."""
    _install_kit(Path(kit))
    if image:
        from harness import image as images  # which loads much that is of no use without one

        try:
            images.provide(images.Image(**image), IMAGE)
        except HarnessError as error:
            return {"error": str(error)}
    return {}


def _install_kit(source: Path) -> None:
    """Copy the kit to its own tmpfs, so that no path of the machine shows where it is mounted; load its runner."""
    shutil.copytree(source, KIT, symlinks=True, dirs_exist_ok=True, copy_function=shutil.copy)
    runner()


def runner() -> Any:
    """Return the probes' runner, from the kit."""
    if "probe_runner" not in sys.modules:
        import importlib.util

        spec = importlib.util.spec_from_file_location("probe_runner", f"{KIT}/probes/__main__.pyc")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["probe_runner"] = module
        spec.loader.exec_module(module)
    return sys.modules["probe_runner"]
