"""Starts of our own runtime, timed: a container that was prepared once, and a program in it that tells the time.

Nothing here needs more than the standard library, because a launcher of its own (`harness.bench.launcher`) is to be
small.
"""

import os
import time
from typing import NamedTuple

from harness import elf
from harness.errors import HarnessError
from harness.runtime.launch import Prepared, Streams

DEADLINE = 30.0  # seconds for one start


class Times(NamedTuple):
    """When a container was asked for, when its first instruction ran, and when nothing of it was left, in ns."""

    requested: int
    first: int
    ended: int


class Clock:
    """What a container writes the time of its first instruction to; use it as a context."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.set_blocking(self._reader, False)

    def __enter__(self) -> "Clock":
        return self

    def __exit__(self, *_error: object) -> None:
        for descriptor in (self._reader, self._writer, self._null):
            os.close(descriptor)

    @property
    def streams(self) -> Streams:
        """The standard streams of a container."""
        return self._null, self._writer, self._null

    def start(self, container: Prepared) -> Times:
        """Run a container to its end. Raises StartError, HarnessError where it did not tell the time."""
        try:
            requested = time.monotonic_ns()
            status = container.run(self.streams, DEADLINE)
            ended = time.monotonic_ns()
        finally:
            output = self.read()
        if status != 0:
            raise HarnessError(f"builtin: the clock program ended with status {status}")
        if container.config["process"].get("terminal"):
            output = output.replace(b"\r\n", b"\n")  # ONLCR: termios(3)
        return Times(requested, elf.nanoseconds(output), ended)

    def read(self) -> bytes:
        """Return what was written until now."""
        try:
            return os.read(self._reader, 4096)
        except BlockingIOError:
            return b""
