"""The contender docker, as far as that needs no docker: whose CPU time is its own."""

import os
import subprocess
import time

import pytest

from harness.bench import contenders
from harness.bench.contenders import Command
from harness.bench.docker import Docker
from harness.bench.series import Round

CLIENT, WORK = 5, 10_000_000  # nanoseconds of CPU time


def work(_contender: Command) -> Round:
    """Have this process work, as a daemon does for a client."""
    end = time.process_time_ns() + WORK
    while time.process_time_ns() < end:
        pass
    return Round(1, 2, CLIENT, 7)


def test_the_cpu_time_of_the_daemons_is_the_starts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "start", work)
    gone = subprocess.Popen(["true"])
    gone.wait()
    with contenders.place() as place:
        contender = Docker(place)
        contender._daemons = [os.getpid(), gone.pid]
        before = time.process_time_ns()
        seen = contender.start()
        used = time.process_time_ns() - before
    assert WORK <= (seen.cpu or 0) - CLIENT <= used
    assert (seen.first, seen.clean, seen.memory) == (1, 2, 7), "and nothing else is"
