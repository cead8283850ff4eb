"""A launcher in a process of its own: as small as a program can be that starts containers, or larger by a known amount.

Each line of its input is a request, each line of its output the answer, all of them JSON objects; whatever it has made
is undone at the end of the input. It is asked by `harness.bench.launchers`.
"""

import contextlib
import json
import mmap
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.bench.starts import Clock
from harness.errors import HarnessError, IsoproofError
from harness.runtime import launch, supervise
from harness.runtime.config import read
from harness.runtime.launch import Cell, Prepared
from harness.runtime.step import Plan


def main() -> None:
    """Serve; the only argument is how many MB of memory are to be there besides, and in use."""
    memory = in_use(int(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each container that is kept has a descriptor here
    with Launcher() as launcher:
        for line in sys.stdin:
            try:
                answer = launcher.answer(json.loads(line))
            except (IsoproofError, OSError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    del memory


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


class Launcher:
    """The containers that can be started, and those that are alive; use it as a context."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self._clock = self._undo.enter_context(Clock())
        self._containers: list[Prepared] = []
        self._alive: list[tuple[Cell, contextlib.ExitStack]] = []

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(self, *_error: object) -> None:
        self.end(len(self._alive))
        self._undo.close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked. Raises IsoproofError, OSError."""
        match request:
            case {"prepare": config, "bundle": bundle, "forked": forked, "pooled": pooled}:
                alter = _forked if forked else None
                container = launch.prepared(read(config), Path(bundle), alter, pooled)
                self._containers.append(self._undo.enter_context(container))
                return {"container": len(self._containers) - 1, "executor": executor(self._containers[-1])}
            case {"start": int(index)}:
                if pool := self._containers[index].pool:
                    pool.fill()
                return self._clock.start(self._containers[index])._asdict()
            case {"keep": int(index), "count": int(count)}:
                for _ in range(count):
                    self.keep(self._containers[index])
            case {"end": int(count)}:
                self.end(count)
            case _:
                raise HarnessError(f"launcher: nothing is known of {request}")
        return {}

    def keep(self, container: Prepared) -> None:
        """Start a container and leave it alive."""
        undo = contextlib.ExitStack()
        cell = undo.enter_context(launch.start(container.plan, self._clock.streams))
        self._alive.append((cell, undo))

    def end(self, count: int) -> None:
        """End the latest of those that are alive: all are killed first, so that the kernel ends them side by side."""
        ending = [self._alive.pop() for _ in range(count)]
        for cell, _ in ending:
            supervise.kill(cell.pidfd)
        for _, undo in ending:
            undo.close()


def executor(container: Prepared) -> str:
    """Return what starts a container."""
    return "pooled" if container.pool else "replay" if container.child else "forked"


def _forked(plan: Plan) -> Plan:
    return replace(plan, replay=False)


if __name__ == "__main__":
    main()
