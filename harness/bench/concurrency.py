"""How containers start in a crowd: several asked for at once, by our own runtime and by commands."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from harness.bench import cells, leavings, orphans, others
from harness.bench.commands import LINGERING
from harness.bench.contenders import NAME, Command, Place, found, place, said
from harness.bench.launcher import Launcher
from harness.bench.progress import Tell
from harness.bench.series import Round, Section, Settings
from harness.bench.turns import Turns
from harness.errors import HarnessError, IsoproofError
from harness.runtime import launch
from harness.runtime.config import read
from harness.runtime.launch import Prepared

TITLE = "Several at once"
QUESTION = "How long does each container take where several are asked for at the same moment?"
SETTINGS = Settings(rounds=20, gap_ms=5, warmup=1)
COUNTS = (1, 2, 4, 8, 16, 32)
SECONDS = 4.0  # that one contender may take for all its batches of one size; then there are no more of them
WORDS = [
    "From the request until the last has run its first instruction, divided by their number.",
    f"Here there are {SETTINGS.rounds} rounds, and of no contender and size more than can be had in {SECONDS:.0f} s.",
    "builtin starts its share on each of two threads; the others are commands, spawned one after the other.",
]
THREADS = 2
OURS = "builtin"
PEERS: tuple[Callable[[Place], Command], ...] = (others.unshare, others.bubblewrap, others.crun, others.runc)

Batch = Callable[[int], Round]  # what starts so many at once


def section(tell: Tell, settings: Settings = SETTINGS, counts: Collection[int] = COUNTS) -> Section:
    """Start batches of containers of several sizes."""
    words = list(WORDS)
    batches: dict[str, Batch] = {}
    with leavings.undone() as stack:
        stack.enter_context(orphans.adopted())
        made = stack.enter_context(place())
        commands = [make(made) for make in PEERS]
        contenders = [(OURS, threads(made)), *((command.name, spawned(command)) for command in commands)]
        for name, ready in contenders:
            tell(f"{TITLE}: making {name} ready")
            try:
                batches[name] = stack.enter_context(ready)
            except IsoproofError as error:
                words.append(f"Not measured, {name}: {error}")
        starts = {
            f"{name}, {count} at once": partial(batch, count) for count in counts for name, batch in batches.items()
        }
        turns = Turns(TITLE, starts, settings, tell, seconds=SECONDS)
        turns.all_rounds()
    return Section(TITLE, QUESTION, turns.series(), words)


def per_container(requested: int, moments: Sequence[int], ended: int) -> Round:
    """Return what each of a batch has taken; `moments` are those of their first instructions, all in nanoseconds."""
    return Round((max(moments) - requested) // len(moments), (ended - requested) // len(moments))


@contextlib.contextmanager
def threads(made: Place) -> Iterator[Batch]:
    """Yield what has our own runtime start a batch on several threads, each with a container of its own.

    Raises HarnessError where starts are not replayed: to fork takes a process without threads.
    """
    with contextlib.ExitStack() as stack:
        containers = [stack.enter_context(launch.prepared(read(made.config), made.bundle)) for _ in range(THREADS)]
        if not all(container.child for container in containers):
            raise HarnessError("no start is replayed, and threads cannot fork")
        workers = stack.enter_context(ThreadPoolExecutor(THREADS))

        def batch(count: int) -> Round:
            shares = [len(range(thread, count, THREADS)) for thread in range(THREADS)]
            requested = time.monotonic_ns()
            moments = [moment for started in workers.map(_start, containers, shares) for moment in started]
            return per_container(requested, moments, time.monotonic_ns())

        yield batch


def _start(container: Prepared, count: int) -> list[int]:
    """Start a container so many times, one after the other; return when the first instructions ran."""
    return [cells.start(container).first for _ in range(count)]


@contextlib.contextmanager
def spawned(command: Command) -> Iterator[Batch]:
    """Yield what runs a command so many times at once, from a small process. Raises HarnessError."""
    if absent := command.absent():
        raise HarnessError(absent)
    with command.ready(), Launcher(within=command.way.within) as launcher:

        def batch(count: int) -> Round:
            program, *arguments = command.way.command
            known = orphans.children()
            try:
                each = [[found(program) or program, *numbered(arguments, number)] for number in range(count)]
                times = launcher.ask(spawn=each)
                _, last = orphans.await_all(known, time.monotonic() + LINGERING)
                if left := orphans.names(known):
                    raise HarnessError(f"it has left {', '.join(left)} running")
                return per_container(times["requested"], times["moments"], max(times["ended"], last))
            except HarnessError:
                for number in range(count) if command.removal else ():
                    said(numbered(command.removal, number))
                raise
            finally:
                orphans.end_all(known)

        yield batch


def numbered(words: Sequence[str], number: int) -> list[str]:
    """Return a command with a name of its own for its container, where that has one."""
    return [f"{word}-{number}" if word.startswith(NAME) else word for word in words]
