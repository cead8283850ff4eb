"""What the runtimes share that are no OCI runtimes but commands with options of their own, without a daemon."""

import contextlib
import os
import select
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.backends import Config, Streams, _asked, _command
from harness.runtime import members

OF_KERNEL = ("/proc", "/sys")  # mounted afresh or as it is, so that the host has the same files there
HEARD = 16 << 10  # bytes of what a command says last that are searched for a complaint


def lacking(config: Config, expressed: Iterable[str]) -> list[str]:
    """Return what of a config a runtime cannot express, but for what the default config asks for in the same words.

    Every container of ours is asked for that. Were the checks skipped because a runtime has no word for one of these
    things, none would be left: so they are made, and those about the very thing find that it is not there.
    """
    default = _asked.usual()
    usual = _asked.features(default)
    return [
        feature
        for feature in _asked.lacking(config, expressed)
        if feature not in usual or _value(config, feature) != _value(default, feature)
    ]


def _value(config: Config, feature: str) -> Any:
    value: Any = config
    for key in feature.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def on_host(config: Config, path: str) -> Path:
    """Return where the host has a file of the container's: below its root, but for those that the kernel provides."""
    return Path(path) if path.startswith(OF_KERNEL) else Path(config["root"]["path"], path.lstrip("/"))


def options(mount: Config) -> dict[str, str]:
    """Return the options of a mount, with what stands behind their signs."""
    return {name: value for name, _, value in (option.partition("=") for option in mount.get("options", []))}


def in_bytes(size: str) -> int:
    """Return the size of a tmpfs as a number, for those that take nothing else: tmpfs(5)."""
    unit = {"k": 10, "m": 20, "g": 30}.get(size[-1].lower())
    return int(size[:-1]) << unit if unit else int(size)


def run(
    command: Sequence[str], io: Streams, deadline: float, sign: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command; return its status, and what it has said in lines with the sign of its own complaints.

    It says them where the container says its errors, so all is copied on from a pipe like the one that is there. What
    goes to no pipe is left alone.
    """
    if not stat.S_ISFIFO(os.fstat(io[2]).st_mode):
        return _command.run(command, io, deadline, environment), ""
    reading, writing = os.pipe()
    said = bytearray()

    def copy() -> None:
        data = os.read(reading, 1 << 16)
        said.extend(data)
        del said[:-HEARD]
        while data:
            data = data[os.write(io[2], data) :]

    def attend(pidfd: int, end: float) -> None:
        ready = [reading]
        while ready and pidfd not in ready:
            ready = select.select([pidfd, reading], [], [], max(0.0, end - time.monotonic()))[0]
            if reading in ready:
                copy()

    try:
        status = _command.run(command, (io[0], io[1], writing), deadline, environment, attend)
        if select.select([reading], [], [], 0)[0]:
            copy()  # all that a pipe can hold; what goes on writing has outlived its container
    finally:
        os.close(reading)
        os.close(writing)
    lines = said.decode(errors="replace").splitlines()
    return status, "; ".join(line.removeprefix(sign).strip() for line in lines if line.startswith(sign))


def remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup with those below, and kill what is in there: a container may outlive a runtime that is killed."""
    members.kill(cgroup)
    members.remove_inner(cgroup)
    with contextlib.suppress(OSError):  # it stays, and is found by who looks for what is left
        cgroup.rmdir()


@contextlib.contextmanager
def made(wanted: Mapping[Path, bool]) -> Iterator[None]:
    """Have files in a container's root, or directories where that is said, that must be there; remove them again."""
    done = []
    try:
        for place, is_directory in wanted.items():
            for path in [*reversed(place.parents), place]:
                if not os.path.lexists(path):
                    if is_directory or path != place:
                        path.mkdir(0o755)
                    else:
                        path.touch()
                    done.append(path)
        yield
    finally:
        for path in reversed(done):
            with contextlib.suppress(OSError):  # what somebody has put into it stays
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
