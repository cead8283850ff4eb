"""The fast executor: the calls of a plan, laid out as one table that a few machine instructions walk in the child.

The child shares the launcher's memory until it becomes the program (CLONE_VM), so nothing of the launcher is copied,
whatever its size; the calling thread waits for that (CLONE_VFORK), the others go on. `harness.runtime.forked` is the
reference and takes every plan; `fits` says which ones can be had here. clone(2), vfork(2)
"""

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.runtime import stub
from harness.runtime.forked import SIGCHLD, Failed, Results
from harness.runtime.step import CHANNEL, Argument, Call, Packed, Plan, Program, Record, Saved, Step, Strings
from harness.runtime.syscalls import CLONE, F_DUPFD_CLOEXEC, PR, O, clone_args, libc, number, socketpair

STACK = 4096  # bytes; the child calls no function
SOCK_FPROG = struct.Struct("=H6xQ")  # seccomp(2)
REPLAYED = int | str | Saved | Strings | Packed | Program | Record | None
DUMP_FILTER = 0x33  # what the step reset-memory sets; core(5)
PRIORITY = os.sched_param(0)
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
        and not any(step.hook for step in plan.steps)
        and not any(call.least or (call.name == "setns" and call.arguments[1] == CLONE.NEWTIME) for call in calls)
        and all(isinstance(argument, REPLAYED) for call in calls for argument in call.arguments)
        and _has_ordinary_memory()
        and stub.function() is not None
    )


def _has_ordinary_memory() -> bool:
    dump_filter = int(Path("/proc/self/coredump_filter").read_text(), 16)
    banned: int = libc.prctl(PR.GET_THP_DISABLE.value, 0, 0, 0, 0)
    return dump_filter == DUMP_FILTER and not banned


class Table:
    """The calls that one child makes, laid out in memory; it serves one start at a time, when it is `ready`.

    What only a start knows, descriptors and results of the host's side, is filled in by `clone`. The socket, by which
    the child finds out that its launcher is dead, is the same for all starts.
    """

    def __init__(self, plan: Plan) -> None:
        self._calls = [(step, call) for step in (ARRANGE, *plan.steps) for call in step.calls]
        self.words = (ctypes.c_int64 * (stub.ENTRY * len(self._calls)))()
        self.kept: list[ctypes.Array[Any]] = []  # what the words point to
        self._inherited: dict[str, list[int]] = {}  # the addresses that want a result which no call here has
        users: dict[str, list[int]] = {}  # those that want the result of the latest call that left one
        lists = [self._lay_out(index, call, users) for index, (_, call) in enumerate(self._calls)]
        for index, wanting in enumerate(lists):
            self.words[stub.ENTRY * index + stub.USERS] = self._addresses(wanting)
        self.given = {
            name: [ctypes.c_int32.from_address(address) for address in addresses]
            for name, addresses in self._inherited.items()
        }
        self.flags = plan.flags | CLONE.CLEAR_SIGHAND | CLONE.VM | CLONE.VFORK | CLONE.PIDFD
        self._pidfd = ctypes.c_int(-1)
        self._arguments = clone_args(
            flags=self.flags,
            pidfd=ctypes.addressof(self._pidfd),
            exit_signal=SIGCHLD,
            stack=self._keep(ctypes.create_string_buffer(STACK)),
            stack_size=STACK,
        )
        self._context = (ctypes.c_uint64 * 4)(
            ctypes.addressof(self._arguments), ctypes.sizeof(self._arguments), ctypes.addressof(self.words), 0
        )
        self._address = ctypes.addressof(self._context)
        function = stub.function()
        assert function
        self._function = function
        self.streams = [self.given.pop(name) for name in STREAMS]

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Have what all starts need: the socket, and nobody who may reach into this process meanwhile."""
        ends = socketpair()
        self._fill(dict(zip(CHANNEL_ENDS, ends, strict=True)))
        try:
            with _unreachable:
                yield
        finally:
            for end in ends:
                os.close(end)

    def clone(self, streams: tuple[int, int, int], into: int, results: Results) -> tuple[int, int, Failed | None]:
        """Clone the child; return when it has become the program, or has failed.

        `into` is the descriptor of a version 2 cgroup or -1, `results` what the host's side knows by now. Returns the
        child's process id, a pidfd, and what has failed. Raises OSError where the clone itself failed.
        """
        for words, stream in zip(self.streams, streams, strict=True):
            words[0].value = stream
        self._fill(results)
        if into >= 0:
            self._arguments.flags |= CLONE.INTO_CGROUP
            self._arguments.cgroup = into
        self._context[stub.FAILED] = 0
        ordinary = os.sched_getscheduler(0) == os.SCHED_OTHER
        if ordinary:
            os.sched_setscheduler(
                0, os.SCHED_BATCH, PRIORITY
            )  # or this thread, awake again, would run before the program
        pid = self._function(self._address)
        if ordinary:
            os.sched_setscheduler(0, os.SCHED_OTHER, PRIORITY)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        if not self._context[stub.FAILED]:
            return pid, self._pidfd.value, None
        index = (self._context[stub.FAILED] - ctypes.addressof(self.words)) // (8 * stub.ENTRY)
        step, call = self._calls[index]
        return pid, self._pidfd.value, Failed(step, call, -self.words[stub.ENTRY * index + stub.RESULT])

    def _fill(self, results: Results) -> None:
        """Fill in what calls want that none of them has made."""
        for name, value in results.items():
            for word in self.given.get(name, ()):
                word.value = value

    def _lay_out(self, index: int, call: Call, users: dict[str, list[int]]) -> list[int]:
        """Fill in an entry; return the list of the addresses that want its result, to which later calls add."""
        first = stub.ENTRY * index
        self.words[first] = number(call.name)
        for at, argument in enumerate(call.arguments, start=first + 1):
            if isinstance(argument, Saved):
                self._wanting(argument.name, users).append(ctypes.addressof(self.words) + 8 * at)
            else:
                self.words[at] = self._value(argument, users)
        self.words[first + stub.ERRNOS] = self._addresses([-code for code in call.allowed])
        if not call.saves:
            return []
        users[call.saves] = []
        return users[call.saves]

    def _wanting(self, name: str, users: dict[str, list[int]]) -> list[int]:
        return users[name] if name in users else self._inherited.setdefault(name, [])

    def _value(self, argument: Argument, users: dict[str, list[int]]) -> int:
        """Return the word for an argument: a number, or the address of what was laid out in memory."""
        match argument:
            case None:
                return 0
            case int():
                return argument if argument < 2**63 else argument - 2**64
            case str():
                return self._keep(ctypes.create_string_buffer(argument.encode(errors="surrogateescape")))
            case Packed():
                return self._keep(ctypes.create_string_buffer(argument.value, max(1, len(argument.value))))
            case Program():
                count, instructions = len(argument.instructions) // 8, argument.instructions
                address = self._keep(ctypes.create_string_buffer(instructions, len(instructions)))
                return self._keep(ctypes.create_string_buffer(SOCK_FPROG.pack(count, address), SOCK_FPROG.size))
            case Strings():
                return self._addresses([self._keep(ctypes.create_string_buffer(text)) for text in argument.values])
            case Record():
                return self._record(argument, users)
        raise TypeError(f"{argument} is for the executor that forks")

    def _record(self, record: Record, users: dict[str, list[int]]) -> int:
        buffer = ctypes.create_string_buffer(record.size)
        address, at = self._keep(buffer), 0
        for letters, value in record.members:
            if isinstance(value, Saved):
                self._wanting(value.name, users).append(address + at)
            elif value is not None:
                inner = self._value(value, users) if isinstance(value, Packed | Record) else value
                struct.pack_into(f"={letters}", buffer, at, inner)
            at += struct.calcsize(f"={letters}")
        return address

    def _addresses(self, words: list[int]) -> int:
        """Lay out a list that ends with a zero."""
        return self._keep((ctypes.c_int64 * (len(words) + 1))(*words))

    def _keep(self, kept: "ctypes.Array[Any]") -> int:
        """Keep what the table points to for as long as there is a table; return its address."""
        self.kept.append(kept)
        return ctypes.addressof(kept)


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
