"""Starts processes, then threads, until the kernel refuses one or there are enough."""

from __future__ import annotations

import ctypes
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(most: int = 64) -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report of `processes` and `threads`: how many were `created`, `errno` of the refusal, and `tasks`.

    `tasks` is the number of all tasks in the pid namespace at that moment, which is what pids.max counts. At
    most `most` are created. The host counts refusals at the handshake, when all have gone again.
    """
    processes = _fork(most)
    threads = _kernel.in_child(lambda: _start_threads(most))
    facts: dict[str, object] = {"processes": processes, "threads": threads}
    yield facts
    return facts


def _fork(most: int) -> dict[str, object]:
    children: list[int] = []
    refusal: str | None = None
    reader, writer = os.pipe()
    while len(children) < most and refusal is None:
        try:
            child = os.fork()
        except OSError as error:
            refusal = _kernel.errno_name(error.errno)
            break
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until everybody is killed, or the parent has gone
            os._exit(0)
        children.append(child)
    tasks = _count_tasks()
    for child in children:
        os.kill(child, _kernel.SIGKILL)
        os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    return {"created": len(children), "errno": refusal, "tasks": tasks}


def _start_threads(most: int) -> dict[str, object]:
    """Threads of the C library, asleep in pause(2) till the child exits; Python's would hide the errno."""
    libc = ctypes.CDLL(None)
    sleep = ctypes.cast(libc.pause, ctypes.c_void_p)
    created = number = 0
    while created < most:
        number = libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, sleep, None)
        if number:
            break
        created += 1
    refusal = _kernel.errno_name(number) if number else None
    return {"created": created, "errno": refusal, "tasks": _count_tasks()}


def _count_tasks() -> int:
    return sum(len(_kernel.entries(f"/proc/{pid}/task")) for pid in _kernel.processes())
