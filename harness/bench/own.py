"""The contenders of our own: the runtime in this process and in others, and the least that any start can be."""

import contextlib
import os
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import harness
from harness import backends, elf, floor
from harness.bench import cells, orphans, starts
from harness.bench.commands import last_words
from harness.bench.contenders import Command, Contender, Place, Way, version_of
from harness.bench.series import Round
from harness.errors import HarnessError
from harness.runtime import launch, quick
from harness.runtime.config import read
from harness.runtime.folders import folders
from harness.runtime.launch import Prepared

END = 2.0  # seconds that a process may take to end by itself
IN_PROCESS = "CPU time is this process's and its children's, memory is shared with it"


class Ours(Contender, Protocol):
    """A contender that is our own runtime."""

    def absent(self) -> str | None:
        """Return why no container can be made here, or None."""
        return backends.load("builtin").available()

    def version(self) -> str:
        """Return the version of isoproof."""
        return backends.load("builtin").version()


class Builtin(Ours):
    """Our own runtime in this process, prepared once for all its starts."""

    name = "builtin"
    what = f"our own runtime, prepared once in this process; {IN_PROCESS}"
    pooled = False

    def __init__(self, place: Place) -> None:
        self._place = place
        self._container: Prepared

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Plan the container."""
        config, bundle = read(self._place.config), self._place.bundle
        with launch.prepared(config, bundle, pooled=self.pooled) as self._container:
            if not self._container.child:
                self.what += "; by the forked executor, for this user's containers are not replayed"
            yield

    def start(self) -> Round:
        """Start it once, from its pool where it has one."""
        return starts.start(self._container)


class Pooled(Builtin):
    """The same, with a pool that is filled before each start."""

    name = "builtin-pooled"
    what = f"our own runtime, its network and IPC namespaces from a pool that was filled before; {IN_PROCESS}"
    pooled = True

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Plan the container, and have a pool."""
        with super().ready():
            if not self._container.pool:
                raise HarnessError("the pool serves containers that are replayed, and this user's are not")
            yield


class PosixSpawn(Contender):
    """The clock as an ordinary process."""

    name = "posix_spawn"
    what = "no container: the clock as an ordinary process, by posix_spawn(3) from this one"

    def __init__(self, place: Place) -> None:
        self._program = place.root("posix_spawn") / "clock"

    def version(self) -> str:
        """Return the version of the interpreter that calls it."""
        return version_of(sys.executable, "--version")

    def start(self) -> Round:
        """Start the clock."""
        reader, writer = os.pipe()
        with open(reader, "rb") as output:
            with open(writer, "wb"):
                actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
                requested = time.monotonic_ns()
                pid = os.posix_spawn(self._program, [str(self._program)], {}, file_actions=actions)
                _, _, usage = os.wait4(pid, 0)
                ended = time.monotonic_ns()
            first = elf.nanoseconds(output.read())
        cpu = round((usage.ru_utime + usage.ru_stime) * 1e9)
        return Round(*cells.Times(requested, first, ended, cpu).durations)


class Served(Contender):
    """Starts that are made by another process, for each byte that it is sent (cells.ANSWER)."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self._serving: Sequence[str] = ()
        self._environment = os.environ | {"PYTHONPATH": str(Path(harness.__file__).parent.parent)}

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Have the process."""
        with tempfile.TemporaryFile() as self._complaints:
            try:
                self._serve()
                yield
            finally:
                self._end()

    def _serve(self) -> subprocess.Popen[bytes]:
        """Return the process, a new one where the last was ended for its failure."""
        if not self._process:
            self._complaints.seek(0)
            self._complaints.truncate()
            self._process = subprocess.Popen(
                self._serving,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env=self._environment,
                start_new_session=True,
            )
        return self._process

    def _end(self) -> None:
        """End the process by the end of its input, so that it can undo what it has done, or else by a signal."""
        if not self._process:
            return
        with self._process as process:  # which closes the pipes in the end
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()
        self._process = None

    def start(self) -> Round:
        """Have the process make one start."""
        process = self._serve()
        known = orphans.children()
        assert process.stdin
        assert process.stdout
        answer, reason = b"", "it has not ended in time"
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"\n")
            if select.select([process.stdout], [], [], cells.DEADLINE)[0]:
                answer = process.stdout.read(cells.ANSWER.size) or b""
                reason = "its process has ended without a word"
        finally:
            if len(answer) != cells.ANSWER.size:
                self._end()
                orphans.end_all(known)
        if len(answer) != cells.ANSWER.size:
            self._complaints.seek(0)
            raise HarnessError(last_words(self._complaints.read()) or reason)
        *times, memory = cells.ANSWER.unpack(answer)
        return Round(*cells.Times(*times).durations, memory)


class Forked(Ours, Served):
    """Our own runtime by the forked executor."""

    name = "builtin-forked"
    what = "our own runtime by the forked executor, from a small process; memory is that of the child, a copy of it"

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Have the process."""
        self._serving = [sys.executable, "-m", "harness.bench.cells", str(self._place.bundle)]
        with super().ready():
            yield


class Floor(Served):
    """The same system calls as our own runtime's, made from C."""

    name = "floor"
    what = (
        "the system calls that our own runtime makes, from a C program that does nothing else; CPU time and memory are "
        "this program's and its child's"
    )

    def absent(self) -> str | None:
        """Return that there is no compiler, where there is none."""
        return None if floor.compiler() else f"no C compiler is installed ({', '.join(floor.COMPILERS)})"

    def version(self) -> str:
        """Return the version of the compiler."""
        return version_of(floor.compiler() or "cc", "--version")

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Compile it, and have the process."""
        with launch.prepared(read(self._place.config), self._place.bundle) as container:
            if not container.child:
                raise HarnessError("our own runtime does not replay this user's containers, so C has nothing to replay")
            self._serving = floor.build(self._place.directory, container.plan)
            with super().ready():
                yield


def isoproof_run(place: Place) -> Command:
    """Return our own runtime as users call it: a process of its own, which finds what the run before it has stored."""
    return _isoproof_run(place, "isoproof-run", "for a bundle that it has run before", place.bundle, "")


def isoproof_first_run(place: Place) -> Command:
    """Return the same where nothing is stored."""
    bundle = place.copy("isoproof-run-first")
    forget = f"rm -f {shlex.join(_plans(bundle))};"
    return _isoproof_run(place, "isoproof-run-first", "for a bundle that it has never run", bundle, forget)


def _isoproof_run(place: Place, name: str, words: str, bundle: Path, before: str) -> Command:
    """Return the command with its modules compiled, as pip leaves them: the first, uncounted runs see to that."""
    script = str(Path(sys.executable).with_name("isoproof"))
    within = ["sh", "-c", f'{before} unset PYTHONDONTWRITEBYTECODE; exec "$@"', "sh"]
    return Command(
        place=place,
        name=name,
        what=f"our own runtime as a command, the interpreter's start included, {words}",
        package="pip installs it with isoproof",
        ways=[Way([script, "run", str(bundle)], within=within)],
        leavings=_plans(bundle),
        release=backends.load("builtin").version(),
    )


def _plans(bundle: Path) -> list[str]:
    """Return where the command may store what it has planned for a bundle."""
    return [f"{folder}/{quick.file_name(str(bundle), [])}" for folder in folders()]


def python(place: Place) -> Command:
    """Return the interpreter alone, which the command cannot do without."""
    return Command(
        place=place,
        name="python",
        what="no container: the interpreter that isoproof run needs, doing nothing",
        package="it runs this",
        ways=[Way([sys.executable, "-c", "pass"])],
        silent=True,
    )
