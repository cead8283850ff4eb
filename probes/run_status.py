"""Runs a program that prints its /proc/self/status, and tells which rights it has got."""

from __future__ import annotations

import os

import _kernel


def observe(path: str) -> dict[str, object]:
    """Report the `uid` and the `capabilities` in force, and those that were so `before`, or the errno of execve(2)."""
    own = parse(_kernel.read_text("/proc/self/status"))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, 1)
            os.execve(path, [path], {})
        except OSError as error:
            os.write(1, f"errno:\t{_kernel.errno_name(error.errno)}\n".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        text = output.read().decode()
    os.waitpid(child, 0)
    return {**parse(text), "before": own["capabilities"]}


def parse(text: str) -> dict[str, object]:
    """What the status says, after proc_pid_status(5)."""
    lines = _kernel.parse_status(text)
    if "errno" in lines:
        return {"errno": lines["errno"]}
    return {"errno": None, "uid": int(lines["Uid"].split()[1]), "capabilities": int(lines["CapEff"], 16)}
