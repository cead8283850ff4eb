"""How much of the other processes in the container can be looked at, by those who trace, read and copy.

A hook calls `leave` while the process that becomes the program is still the runtime's; what it saw is reported later.
"""

from __future__ import annotations

import os

import _kernel

LINKS = ("exe", "cwd", "root")
FILES = ("environ", "mem", "maps")


def observe(path: str) -> dict[str, object]:
    """Report what `leave` has written to a file: `processes` by their numbers, each with the errno of every way.

    The ways are links and files in /proc/PID, `fd`, what the descriptors are, and `trace`, by ptrace(2).
    """
    return {"processes": _kernel.decode(_kernel.read_text(path) or "{}")}


def leave(path: str) -> None:
    """Look at all processes and write down what was seen."""
    others = [name for name in _kernel.processes() if int(name) != os.getpid()]
    with open(path, "w") as file:
        file.write(_kernel.encode({name: _ways(name) for name in others}))


def _attempt_readlink(path: str) -> dict[str, object]:
    return _kernel.attempt(lambda: os.readlink(path))


def _descriptors(directory: str) -> list[str]:
    """What each descriptor is; their numbers are listed to root even where nothing else is told."""
    return [os.readlink(f"{directory}/{number}") for number in os.listdir(directory)]


def _ways(pid: str) -> dict[str, object]:
    ways = {name: _attempt_readlink(f"/proc/{pid}/{name}") for name in LINKS}
    ways |= {name: _kernel.attempt_open(f"/proc/{pid}/{name}") for name in FILES}
    ways["fd"] = _kernel.attempt(lambda: _descriptors(f"/proc/{pid}/fd"))
    ways["trace"] = _kernel.attempt_syscall("ptrace", _kernel.PTRACE_SEIZE, int(pid), 0, 0)
    return {name: way["errno"] for name, way in ways.items()}
