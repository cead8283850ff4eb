"""The reference executor: Python that makes the calls of a plan one after the other, in the child and on the host.

The child is a copy of the launcher made by a bare clone3(2), so the launcher should be small and have one thread. All
arguments are laid out in memory before the clone; the child only makes calls, and reports the first that fails.
"""

import contextlib
import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from harness.runtime.step import (
    ERROR_DESCRIPTOR,
    GO_DESCRIPTOR,
    Argument,
    Call,
    Filled,
    Packed,
    Plan,
    Program,
    Record,
    Saved,
    Step,
    Strings,
)
from harness.runtime.syscalls import CLONE, PR, clone_args, libc, number, sock_fprog

FAILURE = struct.Struct("=3i")
CLONED = -1  # in the place of a step: the go-between has got as far as clone3(2)
SIGCHLD = 17
SIGKILL = 9

OPENING = ("openat", "openat2", "open_tree", "fsopen", "fsmount", "fcntl")

Results = dict[str, int]
_syscall = libc.syscall


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call laid out for the kernel; what only an earlier call can tell is filled in by a function."""

    number: int
    arguments: tuple[object, ...]
    allowed: tuple[int, ...]
    saves: str


def prepare(call: Call) -> Prepared:
    """Lay out the arguments of a call in memory."""
    return Prepared(
        number(call.name),
        tuple(_laid_out(argument) for argument in call.arguments),
        call.allowed,
        call.saves,
    )


def _laid_out(argument: Argument) -> object:
    match argument:
        case None:
            return ctypes.c_long(0)
        case int():
            return ctypes.c_long(argument if argument < 2**63 else argument - 2**64)
        case str():
            return ctypes.create_string_buffer(argument.encode(errors="surrogateescape"))
        case Packed():
            return ctypes.create_string_buffer(argument.value, max(1, len(argument.value)))
        case Program():
            return ctypes.byref(sock_fprog(len(argument.instructions) // 8, argument.instructions))
        case Strings():
            return (ctypes.c_char_p * (len(argument.values) + 1))(*argument.values, None)
        case Record():
            return _record(argument)
        case Saved():
            return lambda results: ctypes.c_long(results[argument.name])
        case Filled():
            return lambda results: ctypes.create_string_buffer(argument.template.format(**results).encode())


def _record(record: Record) -> Callable[[Results], object]:
    """Return what lays a struct out once the results in it are known; what it points to stays where it is till then."""
    pointed = [_laid_out(value) if isinstance(value, Packed) else value for _, value in record.members]

    def lay_out(results: Results) -> object:
        values = [
            results[value.name]
            if isinstance(value, Saved)
            else ctypes.addressof(value)
            if isinstance(value, ctypes.Array)
            else value
            for value in pointed
        ]
        return ctypes.create_string_buffer(struct.pack(record.format, *values), record.size)

    return lay_out


def perform(prepared: Prepared, results: Results) -> int:
    """Make a call and return 0 or its errno, allowed or not."""
    arguments = [argument(results) if callable(argument) else argument for argument in prepared.arguments]
    result: int = _syscall(ctypes.c_long(prepared.number), *arguments)
    if prepared.saves:
        results[prepared.saves] = result
    return ctypes.get_errno() if result < 0 else 0


@dataclass(frozen=True, slots=True)
class Failed:
    """Where a plan stopped: the step, the call in it, and the errno."""

    step: Step
    call: Call
    number: int


class NotEnteredError(Exception):
    """A namespace could not be joined, so there is no child."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(str(failed.call))
        self.failed = failed


def run_here(step: Step, results: Results) -> tuple[Failed | None, bool]:
    """Run a step on the host's side.

    Returns where it failed, and whether its work is all its own: a call that ended in an allowed errno found the work
    already done, and what was not done here is not to be undone here.
    """
    own_work = True
    opened: set[str] = set()
    for call in step.calls:
        code = perform(prepare(call), results)
        if code and code not in call.allowed:
            for name in opened:
                os.close(results[name])  # what the calls that are not made any more would have closed
            return Failed(step, call, code), own_work
        if call.name in OPENING:
            opened.add(call.saves)
        elif call.name == "close" and isinstance(call.arguments[0], Saved):
            opened.discard(call.arguments[0].name)
        own_work = own_work and not code
    return None, own_work


@contextlib.contextmanager
def holder(namespaces: CLONE) -> Iterator[int]:
    """Have a process in new namespaces for a while; yield its process id. Raises OSError."""
    launcher = os.getpid()
    pid = _clone3(clone_args(flags=namespaces, exit_signal=SIGCHLD))
    if pid == 0:
        libc.prctl(PR.SET_PDEATHSIG.value, SIGKILL, 0, 0, 0)
        while os.getppid() == launcher:
            signal.pause()
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, SIGKILL)  # the launcher's own child, not yet reaped, so the number is still its own
        os.waitpid(pid, 0)


def prepare_all(steps: Iterable[Step]) -> list[tuple[int, int, Prepared]]:
    """Lay out all calls of a list of steps, each with the index of its step and its own in it."""
    return [(at, index, prepare(call)) for at, step in enumerate(steps) for index, call in enumerate(step.calls)]


def clone(
    plan: Plan, streams: tuple[int, int, int], error: int, go: int, into: int, results: Results
) -> tuple[int, int]:
    """Clone the child that carries out the plan's steps; return its process id and a pidfd.

    `error` is the writing end on which a failure is reported, `go` the reading end on which the child waits for its id
    maps, `into` the descriptor of a version 2 cgroup or -1, `results` what the host's side knows by now. The
    descriptors given must be above 9. Raises OSError, and NotEnteredError for a step before that.
    """
    prepared = prepare_all(plan.steps)
    flags = plan.flags | CLONE.CLEAR_SIGHAND | (CLONE.INTO_CGROUP if into >= 0 else 0)

    def clone_child(more: CLONE) -> int:
        # A child that is cloned for another parent takes its signal from the process that clones it.
        signal = 0 if more else SIGCHLD
        pid = _clone3(clone_args(flags=flags | more, exit_signal=signal, cgroup=max(into, 0)))
        if pid == 0:
            try:
                _be_the_child(prepared, streams, error, go, plan.shim, results)
            finally:
                os._exit(125)
        return pid

    pid = _through_a_go_between(plan.enter, clone_child) if plan.enter else clone_child(CLONE(0))
    return pid, os.pidfd_open(pid)  # nobody else reaps it, so the number is still its own


def _clone3(arguments: clone_args) -> int:
    """Clone this process; return 0 in the child and its process id in the parent. Raises OSError."""
    pid: int = _syscall(
        ctypes.c_long(number("clone3")), ctypes.byref(arguments), ctypes.c_long(ctypes.sizeof(arguments))
    )
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return pid


def _through_a_go_between(steps: tuple[Step, ...], clone_child: Callable[[CLONE], int]) -> int:
    """Have a short-lived process join what is to be joined and clone the child as this process's own: CLONE_PARENT.

    Return the child's process id. Raises OSError where the clone failed, NotEnteredError for a step before it.
    """
    entering = prepare_all(steps)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        between = _clone3(clone_args(exit_signal=SIGCHLD))
        if between == 0:
            try:
                os.write(writer, FAILURE.pack(*_enter_and_clone(entering, clone_child)))
            finally:
                os._exit(0)
        os.close(writer)
        writer = -1
        report = os.read(reader, FAILURE.size)
        os.waitpid(between, 0)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if not report:
        raise OSError(errno.ECHILD, "the process that was to clone the container's was killed")
    at, index, code = FAILURE.unpack(report)
    if at != CLONED:
        raise NotEnteredError(Failed(steps[at], steps[at].calls[index], code))
    if index:
        raise OSError(index, os.strerror(index))
    pid: int = code
    return pid


def _enter_and_clone(
    entering: list[tuple[int, int, Prepared]], clone_child: Callable[[CLONE], int]
) -> tuple[int, int, int]:
    """Make the calls and clone; return the call that failed and its errno, or CLONED, an errno, the process id."""
    results: Results = {}
    for at, index, call in entering:
        code = perform(call, results)
        if code and code not in call.allowed:
            return at, index, code
    try:
        return CLONED, 0, clone_child(CLONE.PARENT)
    except OSError as error:
        return CLONED, error.errno or 0, 0


def _be_the_child(
    prepared: list[tuple[int, int, Prepared]],
    streams: tuple[int, int, int],
    error: int,
    go: int,
    shim: Callable[[], None] | None,
    results: Results,
) -> None:
    """Make the calls; the last one does not return."""
    for target, source in enumerate(streams):
        os.dup2(source, target)
    os.dup2(error, ERROR_DESCRIPTOR, inheritable=False)
    os.dup2(go, GO_DESCRIPTOR, inheritable=False)
    last_step = prepared[-1][0]
    for at, index, call in prepared:
        if at == last_step and index == 0 and shim is not None:
            shim()
        code = perform(call, results)
        if code and code not in call.allowed:
            os.write(ERROR_DESCRIPTOR, FAILURE.pack(at, index, code))
            os._exit(125)
