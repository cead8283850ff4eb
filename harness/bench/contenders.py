"""What takes part in the benchmark: the two kinds of contenders, and what they start.

All start the same program, the clock of harness/elf.py. Those that run bundles are given the same one: the config that
`isoproof spec` writes, and the usual filter of system calls.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness import elf
from harness.bench import commands, leavings
from harness.bench.commands import DEADLINE
from harness.bench.series import Round
from harness.errors import HarnessError
from harness.runtime.config import Config
from harness.runtime.profile import profile
from harness.runtime.spec import example

NAME = f"isoproof-bench-{os.getpid()}"
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything lies that the contenders need, and that is gone in the end."""

    directory: Path
    config: Config

    @property
    def bundle(self) -> Path:
        """The bundle of those that run one."""
        return self.directory / "bundle"

    @property
    def stopwatch(self) -> Path:
        """The program that times commands."""
        return self.directory / "stopwatch"

    def root(self, name: str, clock: int = time.CLOCK_MONOTONIC) -> Path:
        """Make a root with nothing but the clock, for one that may write to it, or whose clock is another."""
        root = self.directory / name / "rootfs"
        for part in ("proc", "dev", "sys", "usr"):  # systemd-nspawn takes nothing without the last for a root
            (root / part).mkdir(parents=True)
        _executable(root / "clock", elf.clock_program(os.uname().machine, clock))
        return root

    def copy(self, name: str, clock: int = time.CLOCK_MONOTONIC) -> Path:
        """Make a bundle like the other."""
        bundle = self.root(name, clock).parent
        (bundle / "config.json").write_text(json.dumps(self.config))
        return bundle


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Make the place, and remove it with all that was mounted in it."""
    with tempfile.TemporaryDirectory(prefix="isoproof-bench-", ignore_cleanup_errors=True) as directory:
        made = Place(Path(directory), asked())
        _executable(made.stopwatch, elf.stopwatch_program(os.uname().machine))
        made.copy("bundle")
        try:
            yield made
        finally:
            leavings.unmount_below(made.directory)


def asked() -> Config:
    """Return what is asked of all that run bundles."""
    config = example(os.geteuid(), os.getegid())
    config["process"]["args"] = ["/clock"]
    held = config["process"]["capabilities"]["bounding"]
    config["linux"]["seccomp"] = profile(held, os.uname().machine)
    return config


def _executable(path: Path, program: bytes) -> None:
    path.write_bytes(program)
    path.chmod(0o755)


class Contender(Protocol):
    """Who takes part. `what` tells people what it is, and which figures of it are no command's own."""

    name: str
    what: str
    command: str = ""  # as shells read it

    def absent(self) -> str | None:
        """Return why it cannot take part here, or None."""
        return None

    def version(self) -> str:
        """Return the version of what is measured."""

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Have what all its starts need, and remove it and all that they have left. Raises IsoproofError."""
        yield

    def start(self) -> Round:
        """Start the clock once. Raises IsoproofError, with the reason why that has failed."""


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways in which a command may be made to work on a machine, and what is to be said about it.

    `within` is a command that enters another place first, which is not measured.
    """

    command: Sequence[str]
    words: str = ""
    within: Sequence[str] = ()


@dataclass(kw_only=True)
class Command(Contender):
    """A contender that is a command; of the ways in which it may be started the first is taken that works here.

    CPU time and memory are those of the command and of all that it has waited for; the CPU time is also that of what
    has outlived it. `preparation` is run once, `removal` after a failed start, and in the end; then cgroups of such
    names and `leavings`, which are paths, are removed if they were not there before.
    """

    place: Place
    name: str
    what: str
    package: str
    ways: Sequence[Way]
    preparation: Sequence[str] = ()
    removal: Sequence[str] = ()
    cgroups: Sequence[str] = ()
    leavings: Sequence[str] = ()
    release: str = ""  # its version, where the program does not tell it
    deadline: float = DEADLINE  # seconds for one start
    calendar: bool = False  # whether its clock inside is CLOCK_REALTIME
    silent: bool = False  # whether there is no clock inside

    def __post_init__(self) -> None:
        self._words = self.what
        self._take(self.ways[0])

    def _take(self, way: Way) -> None:
        self.way = way
        self.command = shlex.join([*way.within, *way.command])
        self.what = f"{self._words}; {way.words}" if way.words else self._words

    def absent(self) -> str | None:
        """Return that its program is not installed, where it is not."""
        program = self.way.command[0]
        return None if found(program) else f"{program} is not installed ({self.package})"

    def version(self) -> str:
        """Return what its program says of its version."""
        return self.release or version_of(self.way.command[0], "--version")

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Find out which of its ways works here, if any does."""
        with leavings.removed([f"*{NAME}*", *self.cgroups], self.leavings):
            try:
                said(self.preparation)
                self._find_way()
                yield
            finally:
                self._remove()

    def _find_way(self) -> None:
        for way in self.ways:
            self._take(way)
            try:
                self.start()
            except commands.HangError:
                break  # another way would take as long to fail
            except HarnessError:
                continue
            return
        self._take(self.ways[0])

    def start(self) -> Round:
        """Run the command once."""
        ahead = time.time_ns() - time.monotonic_ns() if self.calendar else 0
        program, *arguments = self.way.command
        try:
            words = [found(program) or program, *arguments]
            finished = commands.run(self.place.stopwatch, words, self.way.within, self.deadline, self._remove)
            return finished.round(ahead, self.silent)
        except commands.HangError:
            raise  # and nothing is left of it
        except HarnessError:
            self._remove()
            raise

    def _remove(self) -> None:
        said(self.removal)


def found(program: str) -> str | None:
    """Return the path of a program, also where that is not in an ordinary user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SEARCH}")


def said(command: Sequence[str]) -> str:
    """Run a command, if it is one, and return its output, nothing where it cannot be run or hangs."""
    if not command:
        return ""
    words = [found(command[0]) or command[0], *command[1:]]
    try:
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=DEADLINE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")


def version_of(program: str, *arguments: str) -> str:
    """Return the first thing that looks like a version in what a program says."""
    told = re.search(r"\d+\.[\w.+~-]*\w", said([program, *arguments]))
    return told.group() if told else "unknown"
