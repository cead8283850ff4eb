"""One start of a container of our own, in this process or in one that serves another.

    python -m harness.bench.cells BUNDLE     starts it for each byte on standard input, by the forked executor

The forked executor clones its launcher, which must have no other thread then, and costs the more the larger that is; so
it has a process of its own. As harness/floor.c, that one answers with struct ANSWER.
"""

import os
import resource
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness import elf
from harness.errors import HarnessError, IsoproofError
from harness.runtime import launch
from harness.runtime.config import read_file
from harness.runtime.launch import Prepared

DEADLINE = 5.0  # seconds for one start
ANSWER = struct.Struct("=5Q")  # requested, first, ended, cpu: nanoseconds; memory: KiB


class Times(NamedTuple):
    """When a start was requested, its first instruction ran, and it had ended, and what it took of CPU: nanoseconds."""

    requested: int
    first: int
    ended: int
    cpu: int

    @property
    def durations(self) -> tuple[int, int, int]:
        """How long it took to the first instruction, to the end, and of CPU. Raises HarnessError if that cannot be."""
        if not self.requested < self.first < self.ended:
            raise HarnessError("the clock inside has told no time, or one that cannot be")
        return self.first - self.requested, self.ended - self.requested, self.cpu


def start(container: Prepared) -> Times:
    """Start a container; the CPU time is this process's own and its children's. Raises IsoproofError.

    Where it has a pool, that is filled before anybody asks for a start, so this is in no figure.
    """
    if container.pool:
        container.pool.fill()
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        used = _cpu()
        requested = time.monotonic_ns()
        status = container.run((null, writer, null), DEADLINE)  # a file in their place would be copied to, by a thread
        ended = time.monotonic_ns()
        used = _cpu() - used
        os.set_blocking(reader, False)
        if status:
            raise HarnessError(f"exit status {status}")
        try:
            output = os.read(reader, 100)
        except BlockingIOError:
            raise HarnessError("it has written nothing") from None
        if container.config["process"].get("terminal"):
            output = output.replace(b"\r\n", b"\n")  # ONLCR: termios(3)
        first = elf.nanoseconds(output)
    finally:
        for descriptor in (reader, writer, null):
            os.close(descriptor)
    return Times(requested, first, ended, used)


def _cpu() -> int:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time_ns() + round((children.ru_utime + children.ru_stime) * 1e9)


def serve(bundle: Path) -> None:
    """Start the container of a bundle for each byte on standard input."""
    with launch.prepared(
        read_file(bundle / "config.json"), bundle, lambda plan: replace(plan, replay=False)
    ) as container:
        while os.read(0, 1):
            times = start(container)
            os.write(1, ANSWER.pack(*times, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))


if __name__ == "__main__":
    try:
        serve(Path(sys.argv[1]))
    except IsoproofError as error:
        sys.exit(str(error))
