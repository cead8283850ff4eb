"""Which processes and threads are filtered: the seccomp lines of proc_pid_status(5).

`mine` is this process's, `first` those of each thread of process 1, by its number. `forked`, `thread`, `executed` and
`spawned` are those of a child, a thread, and of a program that replaced a fork(2)ed and a vfork(2)ed child.
"""

from __future__ import annotations

import _thread
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Enough of Python to read a file, for a program that has just begun.
PRINT = "import os, sys; os.write(1, open('/proc/self/status', 'rb').read()); os._exit(0)"


def observe() -> dict[str, object]:
    return {
        "mine": _seccomp("self"),
        "first": {number: _seccomp(f"1/task/{number}") for number in _kernel.entries("/proc/1/task")},
        "forked": _kernel.in_child(lambda: _seccomp("self")),
        "thread": _in_thread(lambda: _seccomp("thread-self")),
        "executed": _executed(_fork_and_execute),
        "spawned": _executed(_spawn),
    }


def _seccomp(process: str) -> dict[str, object]:
    """The mode of a process (0 none, 2 filter) and how many filters it has; empty where it cannot be read."""
    return _parsed(_kernel.read_text(f"/proc/{process}/status"))


def _parsed(status: str) -> dict[str, object]:
    lines = _kernel.parse_status(status)
    names = {"mode": "Seccomp", "filters": "Seccomp_filters"}
    return {fact: int(lines[name]) for fact, name in names.items() if name in lines}


def _in_thread(action: Callable[[], dict[str, object]]) -> dict[str, object]:
    answers: list[dict[str, object]] = []
    done = _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            answers.append(action())
        finally:
            done.release()

    _thread.start_new_thread(run, ())
    done.acquire(timeout=4)
    return answers[0] if answers else {}


def _executed(start: Callable[[list[str], int], int]) -> dict[str, object]:
    # The words that started this program, with its loader, but for those that tell it what to do.
    words = _kernel.read_text("/proc/self/cmdline").split("\0")
    command = [*words[: next((at for at, word in enumerate(words) if word == "-I"), 1)], "-I", "-S", "-B", "-c", PRINT]
    command[0] = os.readlink("/proc/self/exe") if not command[0].startswith("/") else command[0]
    reader, writer = os.pipe()
    child = start(command, writer)
    os.close(writer)
    text = b""
    while part := os.read(reader, 65536):
        text += part
    os.close(reader)
    os.waitpid(child, 0)
    return _parsed(text.decode(errors="replace"))


def _fork_and_execute(command: list[str], writer: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            os.dup2(writer, 1)
            os.execv(command[0], command)
        finally:
            os._exit(1)
    return child


def _spawn(command: list[str], writer: int) -> int:
    # The C library makes this of clone(2) with CLONE_VM and CLONE_VFORK.
    return os.posix_spawn(command[0], command, {}, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
