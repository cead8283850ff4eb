"""One start by a command: timed by the stopwatch of harness/elf.py, judged by what the clock inside has written.

A command that hangs is killed with all that it has started; one that fails is told by its own last words.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import elf
from harness.bench import leavings, orphans
from harness.bench.series import Round
from harness.errors import HarnessError
from harness.runtime.errors import on_one_line

DEADLINE = 5.0  # seconds for one start
QUIET = 1.0  # seconds of a start in which nothing but its end wakes us
LINGERING = 2.0  # seconds that what a command has started may outlive it
LONGEST = 64 * 1024  # bytes of output that are looked at
WORDS = 200  # characters of a complaint that are told


class HangError(HarnessError):
    """A command that had not ended when its deadline was over."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: times in nanoseconds of CLOCK_MONOTONIC, memory in KiB, its status, what it has written."""

    requested: int
    ended: int
    cpu: int
    memory: int
    status: int
    output: bytes
    complaint: str

    @property
    def failure(self) -> str:
        """Why it failed, in its own words if it has any; nothing where it did not."""
        if self.status == 0:
            return ""
        how = f"exit status {self.status}" if self.status > 0 else f"killed by {signal.Signals(-self.status).name}"
        return f"{how}: {self.complaint}" if self.complaint else how

    def round(self, ahead: int = 0, silent: bool = False) -> Round:
        """Return the round that this start was; its clock inside is ahead of CLOCK_MONOTONIC by so many nanoseconds.

        One that is `silent` has no clock. Raises HarnessError for one that failed, or whose clock tells no time or one
        that cannot be.
        """
        if self.failure:
            raise HarnessError(self.failure)
        clean = self.ended - self.requested
        if silent:
            return Round(None, clean, self.cpu, self.memory)
        if not self.output:
            raise HarnessError(f"it has written nothing{f': {self.complaint}' if self.complaint else ''}")
        first = elf.nanoseconds(self.output) - ahead - self.requested
        if not 0 < first < clean:
            raise HarnessError(f"its first instruction ran after {first} ns, and all of it took {clean} ns")
        return Round(first, clean, self.cpu, self.memory)


def run(
    stopwatch: Path,
    command: Sequence[str],
    within: Sequence[str] = (),
    deadline: float = DEADLINE,
    removal: Callable[[], object] = bool,
) -> Finished:
    """Run a command, whose first word is a path, to its end and to that of all that it has started.

    `within` is a command that enters another place first, before the stopwatch runs. Raises HangError, and HarnessError
    where it could not be started or has left something running; in every case nothing of it goes on: the command is
    killed, `removal` called, and then killed what is left. Orphans must be `adopted`, and this process may get no other
    children meanwhile.
    """
    end = time.monotonic() + deadline
    known = orphans.children()
    words = [*within, str(stopwatch), *command]
    with contextlib.ExitStack() as stack:
        readers, writers = _pipes(stack)
        pid = 0
        try:
            pid = os.posix_spawnp(
                words[0],
                words,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    *((os.POSIX_SPAWN_DUP2, writer, target) for target, writer in enumerate(writers, 1)),
                ],
                setsid=True,
            )
            written = _written(pid, readers, end)
            os.waitpid(pid, 0)
            cpu, last = orphans.await_all(known, min(end, time.monotonic() + LINGERING))
        except OSError as error:
            raise HarnessError(f"start {words[0]}: {error.strerror}") from None
        finally:
            left = orphans.names(known)
            if left:
                with leavings.uninterrupted():
                    _kill_group(pid)
                    removal()
                    orphans.end_all(known)
    output, complaint, report = written
    if left:
        raise HarnessError(f"it has left {', '.join(left)} running")
    if len(report) != elf.TIMES_AND_USAGE.size:
        raise HarnessError(last_words(complaint) or f"{words[0]} has ended before it came to {command[0]}")
    told = elf.TIMES_AND_USAGE.unpack(report)
    requested, ended = (told[at] * 1_000_000_000 + told[at + 1] for at in (0, 2))
    used = sum(told[at] * 1_000_000 + told[at + 1] for at in (5, 7)) * 1000
    return Finished(
        requested,
        max(ended, last),
        used + cpu,
        told[9],
        os.waitstatus_to_exitcode(told[4]),
        output,
        last_words(complaint),
    )


def _kill_group(leader: int) -> None:
    """Kill a process and those that it has started, but for those that have left its group.

    It is 0 where an interruption came before its number was known; killpg(2) would take that for our own group.
    """
    if leader:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


def _pipes(stack: contextlib.ExitStack) -> tuple[list[int], list[int]]:
    """Open a pipe each for the output, the complaint and the report; return the ends to read and those to write."""
    ends = [os.pipe() for _ in range(3)]
    for end in sum(ends, ()):
        stack.callback(os.close, end)
    return [reader for reader, _ in ends], [writer for _, writer in ends]


def _written(pid: int, readers: list[int], end: float) -> list[bytes]:
    """Return what has been written to each pipe when a process has ended; raise HangError where it does not in time."""
    texts = dict.fromkeys(readers, b"")
    poll = select.poll()
    pidfd = os.pidfd_open(pid)
    try:
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(min(QUIET, max(0.0, end - time.monotonic())) * 1000):
            for reader in readers:  # one may be full, and keep its writer from going on
                poll.register(reader, select.POLLIN)
        while not (ready := dict(poll.poll(max(0.0, end - time.monotonic()) * 1000))).get(pidfd):
            if not ready:
                said = last_words(texts[readers[1]])
                raise HangError(f"it has not ended in time{f': {said}' if said else ''}")
            for reader in ready:
                texts[reader] = (texts[reader] + os.read(reader, LONGEST))[-LONGEST:]
    finally:
        os.close(pidfd)
    for reader in readers:  # of which others may still hold the other end
        os.set_blocking(reader, False)
        with contextlib.suppress(BlockingIOError):
            texts[reader] += os.read(reader, LONGEST)
    return [texts[reader] for reader in readers]


def last_words(text: bytes) -> str:
    """Return the last line that speaks of an error, or else the last that says anything, as far as people read it."""
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]  # docker's last line is where to find help
    return on_one_line((errors or lines)[-1])[:WORDS] if lines else ""
