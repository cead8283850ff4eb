"""A launcher in a process of its own: as small as a program can be that starts containers, or larger by a known amount.

Each line of its input is a request, each line of its output the answer, all of them JSON objects; whatever it has made
is undone at the end of the input. It is asked by `harness.bench.launcher`.
"""

import contextlib
import json
import mmap
import os
import resource
import select
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import elf
from harness.bench import cells
from harness.errors import HarnessError, IsoproofError
from harness.runtime import launch, supervise
from harness.runtime.config import read
from harness.runtime.launch import Cell, Prepared
from harness.runtime.step import Plan

DEADLINE = 10.0  # seconds for all commands that are run side by side


def main() -> None:
    """Serve; the only argument is how many MB of memory are to be there besides, and in use."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each container that is kept has a descriptor here
    with Containers(in_use(int(sys.argv[1]))) as containers:
        for line in sys.stdin:
            try:
                answer = containers.answer(json.loads(line))
            except (IsoproofError, OSError) as error:
                answer = {"error": str(error)}
            with contextlib.suppress(BrokenPipeError):  # whoever has asked is gone, and the end of the input is near
                os.write(1, json.dumps(answer).encode() + b"\n")


def in_use(megabytes: int) -> mmap.mmap | None:
    """Return memory that a fork has to copy the page tables of: private, written to, and in pages of the least size.

    Such is the memory of an interpreter that has grown object by object. madvise(2)
    """
    if megabytes == 0:
        return None
    memory = mmap.mmap(-1, megabytes << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1
    return memory


class Containers:
    """Those that can be started, and those that are alive; use it as a context. The `ballast` is only kept."""

    def __init__(self, ballast: mmap.mmap | None) -> None:
        self._ballast = ballast
        self._undo = contextlib.ExitStack()
        self._null = os.open(os.devnull, os.O_RDWR)
        self._undo.callback(os.close, self._null)
        self._prepared: list[Prepared] = []
        self._alive: list[tuple[Cell, contextlib.ExitStack]] = []

    def __enter__(self) -> "Containers":
        return self

    def __exit__(self, *_error: object) -> None:
        self._end(len(self._alive))
        self._undo.close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked. Raises IsoproofError, OSError."""
        match request:
            case {"prepare": config, "bundle": bundle, "forked": forked, "pooled": pooled}:
                alter = _forked if forked else None
                container = launch.prepared(read(config), Path(bundle), alter, pooled)
                self._prepared.append(self._undo.enter_context(container))
                return {"container": len(self._prepared) - 1, "executor": executor(self._prepared[-1])}
            case {"start": int(index)}:
                return dict(zip(("first", "clean", "cpu"), cells.start(self._prepared[index]).durations, strict=True))
            case {"spawn": list(commands)}:
                return spawn(commands)
            case {"alive": int(wanted), "container": int(index)}:
                self.have_alive(wanted, self._prepared[index])
            case _:
                raise HarnessError(f"launcher: nothing is known of {request}")
        return {}

    def have_alive(self, wanted: int, container: Prepared) -> None:
        """Start containers and leave them alive, or end the latest, until there are so many. Raises StartError."""
        while len(self._alive) < wanted:
            undo = contextlib.ExitStack()
            cell = undo.enter_context(launch.start(container.plan, (self._null, self._null, self._null)))
            self._alive.append((cell, undo))
        self._end(len(self._alive) - wanted)

    def _end(self, count: int) -> None:
        """End the latest of those that are alive: all are killed first, so that the kernel ends them side by side."""
        ending = [self._alive.pop() for _ in range(count)]
        for cell, _ in ending:
            supervise.kill(cell.pidfd)
        for _, undo in ending:
            undo.close()


def spawn(commands: list[list[str]]) -> dict[str, Any]:
    """Run commands side by side, each of which runs the clock.

    Returns when they were asked for, when each clock was read, and when all had ended, in nanoseconds. Raises
    HarnessError where one fails, with the last words of all; none of them goes on in any case.
    """
    with contextlib.ExitStack() as stack:
        reader, writer = os.pipe()
        complaints = os.memfd_create("complaints")
        for descriptor in (reader, writer, complaints):
            stack.callback(os.close, descriptor)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_DUP2, complaints, 2),
        ]
        running: list[int] = []
        try:
            requested = time.monotonic_ns()
            for command in commands:
                running.append(os.posix_spawnp(command[0], command, os.environ, file_actions=actions))
            failed = _await_all(running)
            ended = time.monotonic_ns()
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        os.set_blocking(reader, False)
        output = b""
        with contextlib.suppress(BlockingIOError):
            output = os.read(reader, elf.TIMESPEC.size * len(commands) + 1)
        if failed or len(output) != elf.TIMESPEC.size * len(commands):
            said = os.pread(complaints, 4096, 0).decode(errors="replace").strip()
            how = f"{failed} of {len(commands)} have failed" if failed else "not each has told one time"
            raise HarnessError(said.splitlines()[-1] if said else how)
    moments = [at * 1_000_000_000 + rest for at, rest in elf.TIMESPEC.iter_unpack(output)]
    return {"requested": requested, "moments": moments, "ended": ended}


def _await_all(running: list[int]) -> int:
    """Wait for processes, which are taken off the list; return how many have failed. Raises HarnessError."""
    failed, end = 0, time.monotonic() + DEADLINE
    while running:
        pidfd = os.pidfd_open(running[0])
        try:
            if not select.select([pidfd], [], [], max(0.0, end - time.monotonic()))[0]:
                raise HarnessError("one has not ended in time")
        finally:
            os.close(pidfd)
        failed += os.waitpid(running.pop(0), 0)[1] != 0
    return failed


def executor(container: Prepared) -> str:
    """Return what starts a container."""
    return "pooled" if container.pool else "replay" if container.child else "forked"


def _forked(plan: Plan) -> Plan:
    return replace(plan, replay=False)
