"""The fast executor: the calls of a plan, laid out as one table that a few machine instructions walk in the child.

The child shares the launcher's memory until it becomes the program (CLONE_VM), so nothing of the launcher is copied,
whatever its size; the calling thread waits for that (CLONE_VFORK), the others go on. `harness.runtime.forked` is the
reference and takes every plan; `fits` says which ones can be had here. clone(2), vfork(2)
"""

import contextlib
import ctypes
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.runtime import attributes, relay, stub
from harness.runtime.config import Config
from harness.runtime.forked import SIGCHLD, Failed, Results, close_opened, left_open
from harness.runtime.hostside import Outcome
from harness.runtime.step import CHANNEL, Call, Packed, Plan, Saved, Step
from harness.runtime.syscalls import (
    AT,
    CLONE,
    F_DUPFD_CLOEXEC,
    PR,
    STATX_SIZE,
    STATX_TYPE,
    O,
    clone_args,
    libc,
    socketpair,
)
from harness.runtime.table import Table, may_be_laid_out

STACK = 4096  # bytes; the child calls no function
DUMP_FILTER = 0x33  # what the step reset-memory sets; core(5)
NEEDLESS = attributes.reset_memory({})  # the memory is the launcher's own, and `fits` has found it as it should be
STX_MODE = 28  # where in a struct statx
STREAMS = ("stdin", "stdout", "stderr")
CHANNEL_ENDS = ("channel", "launchers_end")
ARRANGE = Step(
    "streams",
    "the program's standard streams, and the socket to the launcher: dup3(2)",
    (
        *(Call("fcntl", (Saved(name), F_DUPFD_CLOEXEC, CHANNEL + 1), saves=f"free {name}") for name in STREAMS),
        Call("fcntl", (Saved("channel"), F_DUPFD_CLOEXEC, CHANNEL + 1), saves="free channel"),
        Call("close", (Saved("launchers_end"),)),
        *(Call("dup3", (Saved(f"free {name}"), target, 0)) for target, name in enumerate(STREAMS)),
        Call("dup3", (Saved("free channel"), CHANNEL, O.CLOEXEC)),
    ),
)


LOOK = Step(
    "look",
    "which kind of file a stream is: statx(2)",
    tuple(
        Call("statx", (Saved(name), "", AT.EMPTY_PATH, STATX_TYPE, Packed(bytes(STATX_SIZE), name))) for name in STREAMS
    ),
)


def _scheduled(policy: int) -> Step:
    return Step("policy", "sched(7)", (Call("sched_setscheduler", (0, policy, Packed(bytes(4), "priority=0"))),))


POLICY = Step("ask-policy", "only the usual one is changed: sched(7)", (Call("sched_getscheduler", (0,)),))
BATCH, OTHER = _scheduled(os.SCHED_BATCH), _scheduled(os.SCHED_OTHER)


def fits(plan: Plan) -> bool:
    """Return whether this executor may be used, for this plan, on this machine and by this process.

    Not where the launcher has something to do while the child waits, for its thread waits for the child. Not outside a
    new PID namespace: others in it, with the rights of the container, could reach into the launcher's memory through
    the child. Not for a time namespace, which is not entered with shared memory. Not where the launcher's memory has
    other attributes than the program's is to have, for it is the same.
    """
    calls = [call for step in plan.steps for call in step.calls]
    return (
        plan.replay
        and CLONE.NEWPID in plan.flags
        and not plan.enter
        and not plan.between
        and plan.shim is None
        and all(may_be_laid_out(step) for step in plan.steps)
        and not any(call.name == "setns" and call.arguments[1] == CLONE.NEWTIME for call in calls)
        and _has_ordinary_memory()
        and stub.function() is not None
    )


def fits_host_side(plan: Plan, config: Config) -> bool:
    """Return whether what is done before there is a child may be done by `HostSide`.

    Not in cgroups that have a name, for one of that name may be there with CPUs of somebody else's choice. Not where
    the child needs what is opened there.
    """
    calls = [call for step in plan.before for call in step.calls]
    known = "cgroupsPath" not in config["linux"] and all(may_be_laid_out(step) for step in plan.before)
    return known and not left_open(calls)


def _has_ordinary_memory() -> bool:
    dump_filter = int(Path("/proc/self/coredump_filter").read_text(), 16)
    banned: int = libc.prctl(PR.GET_THP_DISABLE.value, 0, 0, 0, 0)
    return dump_filter == DUMP_FILTER and not banned


class HostTable(Table):
    """A table that the launcher walks by itself.

    The same calls by the interpreter take longer, most of all the first ones after other programs have run.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        super().__init__(steps)
        self._context = stub.Context(self.words)

    def walk(self) -> int:
        """Make the calls; return the address of the entry that has failed, or 0."""
        return self._context.walk()[1]


class Child:
    """The table that the child of one container walks; it serves one start at a time, when it is `ready`.

    What only a start knows, descriptors and results of the host's side, is filled in by `clone`; `walk` is the system
    call itself, and all that the child does. The socket, by which the child finds out that its launcher is dead, is the
    same for all starts.
    """

    def __init__(self, plan: Plan) -> None:
        self.table = Table((ARRANGE, *(step for step in plan.steps if step != NEEDLESS)))
        self.streams = [self.table.given.pop(name) for name in STREAMS]
        self._look, self._policy, self._batch, self._other = (
            HostTable((step,)) for step in (LOOK, POLICY, BATCH, OTHER)
        )
        self._looked_at = [self._look.given[name][0] for name in STREAMS]
        found = [self._look.argument(index, 4) for index in range(len(STREAMS))]
        self._modes = [ctypes.c_uint16.from_address(buffer + STX_MODE) for buffer in found]
        self.flags = plan.flags | CLONE.CLEAR_SIGHAND | CLONE.VM | CLONE.VFORK | CLONE.PIDFD
        self.stack = ctypes.create_string_buffer(STACK)
        self.pidfd = ctypes.c_int(-1)
        self.arguments = clone_args(
            flags=self.flags,
            pidfd=ctypes.addressof(self.pidfd),
            exit_signal=SIGCHLD,
            stack=ctypes.addressof(self.stack),
            stack_size=STACK,
        )
        self.context = stub.Context(self.table.words, self.arguments)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Have what all starts need: the socket, and nobody who may reach into this process meanwhile."""
        ends = socketpair()
        self.table.fill(dict(zip(CHANNEL_ENDS, ends, strict=True)))
        try:
            with _unreachable:
                yield
        finally:
            for end in ends:
                os.close(end)

    def hands_on(self, streams: tuple[int, int, int]) -> bool:
        """Return whether all streams are such as may be handed on to a program as they are: `harness.runtime.relay`."""
        stdin, stdout, stderr = self._looked_at
        stdin.value, stdout.value, stderr.value = streams
        if self._look.walk():
            return False
        for mode in self._modes:
            if stat.S_IFMT(mode.value) not in relay.STREAMS:
                return False
        return True

    def clone(self, streams: tuple[int, int, int], into: int, results: Results) -> tuple[int, int, Failed | None]:
        """Clone the child; return when it has become the program, or has failed.

        `into` is the descriptor of a version 2 cgroup or -1, `results` what the host's side knows by now. Returns the
        child's process id, a pidfd, and what has failed. Raises OSError where the clone itself failed.
        """
        (stdin,), (stdout,), (stderr,) = self.streams
        stdin.value, stdout.value, stderr.value = streams
        if results:
            self.table.fill(results)
        if into >= 0:
            self.arguments.flags |= CLONE.INTO_CGROUP
            self.arguments.cgroup = into
        self._policy.walk()
        ordinary = self._policy.result(0) == os.SCHED_OTHER
        if ordinary:  # else this thread would run, as soon as it is awake again, before the program
            self._batch.walk()
        pid, failed = self.context.walk()
        if ordinary:
            self._other.walk()
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid, self.pidfd.value, self.table.failed(failed) if failed else None


class HostSide:
    """The table of what is done on the host's side before there is a child, and that which undoes it.

    Both are walked by the launcher itself.
    """

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self._table = HostTable(steps)
        self._failed = 0
        self._undo = HostTable(undone(steps))
        # Of these calls only one that has done the work itself may be undone.
        self._makers = [index for index, (_, call) in enumerate(self._table.calls) if call.allowed]
        self._undoes_all = not any(step.name.startswith("enable:") for step in steps)  # others may rely on that by now
        self.cgroups = [Path(step.name.partition(":")[2]) for step in steps if step.name.startswith("cgroup:")]

    def walk(self) -> bool:
        """Make the calls; return whether none of them has failed."""
        self._failed = self._table.walk()
        return not self._failed

    def outcomes(self, results: Results) -> Iterator[Outcome]:
        """Tell of each step that was begun how it went, and leave its results."""
        stopped = self._table.index(self._failed) if self._failed else len(self._table.calls)
        index = 0
        for step in self._steps:
            if index > stopped:
                return
            made = step.calls[: stopped - index]
            found = [self._table.result(at) for at in range(index, index + len(made))]
            for call, result in zip(made, found, strict=True):
                if call.saves:
                    results[call.saves] = max(-1, result)
            index += len(step.calls)
            failed = self._table.failed(self._failed) if stopped < index else None
            if failed:
                close_opened(made, results)
            yield Outcome(step, failed, all(result >= 0 for result in found))

    def undo(self) -> bool:
        """Undo all of it, where it was all done here and nobody holds on to it; return whether nothing is left."""
        if not self._undoes_all or any(self._table.result(index) < 0 for index in self._makers):
            return False
        return not self._undo.walk()


def undone(steps: Iterable[Step]) -> list[Step]:
    """Return the steps that undo others, the last of them first."""
    return [Step(f"undo {step.name}", step.why, step.undo) for step in reversed([*steps])]


class _Unreachable:
    """Let nobody trace this process or a child that shares its memory, whatever ids the child takes meanwhile.

    The kernel does so by itself as soon as the child's ids change, and for good; what was before is restored when the
    last table has served. prctl(2), PR_SET_DUMPABLE
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables = 0
        self._dumpable = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._tables == 0:
                self._dumpable = libc.prctl(PR.GET_DUMPABLE.value, 0, 0, 0, 0)
                libc.prctl(PR.SET_DUMPABLE.value, 0, 0, 0, 0)
            self._tables += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._tables -= 1
            if self._tables == 0:
                libc.prctl(PR.SET_DUMPABLE.value, self._dumpable, 0, 0, 0)


_unreachable = _Unreachable()
