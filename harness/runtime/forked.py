"""The reference executor: Python that makes the calls of a plan one after the other, in the child and on the host.

The child is a copy of the launcher made by a bare clone3(2), so the launcher should be small. All arguments are laid
out in memory before the clone; the child only makes calls, and reports the first that fails.
"""

import contextlib
import ctypes
import errno
import os
import signal
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from harness.runtime import hooks
from harness.runtime.errors import StartError
from harness.runtime.rendezvous import HOOK, LONGEST, RAISED
from harness.runtime.step import (
    CHANNEL,
    Answer,
    Argument,
    Call,
    Filled,
    Hook,
    Packed,
    Plan,
    Program,
    Record,
    Saved,
    Step,
    Strings,
)
from harness.runtime.syscalls import CLONE, PR, clone_args, explain_errno, libc, number, sock_fprog

FAILURE = struct.Struct("=3i")
CLONED = -1  # in the place of a step: the go-between has got as far as clone3(2)
SIGCHLD = 17
SIGKILL = 9

OPENING = ("openat", "socket", "openat2", "open_tree", "fsopen", "fsmount", "fcntl")

Results = dict[str, int]
_syscall = libc.syscall


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call laid out for the kernel; what only an earlier call can tell is filled in by a function."""

    number: int
    arguments: tuple[object, ...]
    allowed: tuple[int, ...]
    saves: str
    least: int
    answer: tuple[int, int] | None  # which argument holds the result, and where in it


def prepare(call: Call) -> Prepared:
    """Lay out the arguments of a call in memory."""
    return Prepared(
        number(call.name),
        tuple(_laid_out(argument) for argument in call.arguments),
        call.allowed,
        call.saves,
        call.least,
        next(((index, value.at) for index, value in enumerate(call.arguments) if isinstance(value, Answer)), None),
    )


def _laid_out(argument: Argument) -> object:
    match argument:
        case None:
            return ctypes.c_long(0)
        case int():
            return ctypes.c_long(argument if argument < 2**63 else argument - 2**64)
        case str():
            return ctypes.create_string_buffer(argument.encode(errors="surrogateescape"))
        case Packed() | Answer():
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
    pointed = [_laid_out(value) if isinstance(value, Packed | Record) else value for _, value in record.members]

    def lay_out(results: Results) -> ctypes.Array[ctypes.c_char]:
        values: list[object] = []
        inner = []
        for value in pointed:
            if callable(value):
                inner.append(value(results))
                values.append(ctypes.addressof(inner[-1]))
            elif isinstance(value, ctypes.Array):
                values.append(ctypes.addressof(value))
            elif value is not None:
                values.append(results[value.name] if isinstance(value, Saved) else value)
        buffer = ctypes.create_string_buffer(struct.pack(record.format, *values), record.size)
        buffer.inner = inner  # type: ignore[attr-defined]  # what it points to must live as long
        return buffer

    return lay_out


def perform(prepared: Prepared, results: Results) -> int:
    """Make a call and return 0 or its errno, allowed or not."""
    arguments = [argument(results) if callable(argument) else argument for argument in prepared.arguments]
    result: int = _syscall(ctypes.c_long(prepared.number), *arguments)
    code = ctypes.get_errno() if result < 0 else 0
    if prepared.answer and not code:
        index, at = prepared.answer
        buffer = arguments[index]
        assert isinstance(buffer, ctypes.Array)
        result = struct.unpack_from("=i", buffer, at)[0]
        code = max(0, -result)
    if prepared.saves:
        results[prepared.saves] = result
    if code:
        return code
    return errno.EPIPE if result < prepared.least else 0


Work = tuple[int, int, Prepared | Hook]


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
    for index, call in enumerate(step.calls):
        code = perform(prepare(call), results)
        if code and code not in call.allowed:
            close_opened(step.calls[:index], results)
            return Failed(step, call, code), own_work
        own_work = own_work and not code
    return None, own_work


def close_opened(calls: Iterable[Call], results: Results) -> None:
    """Close what these calls have opened and the calls of their step that are not made any more would have closed."""
    for name in left_open(calls):
        os.close(results.pop(name))


def left_open(calls: Iterable[Call]) -> set[str]:
    """Return the names of the descriptors that calls open and do not close."""
    names: set[str] = set()
    for call in calls:
        if call.name in OPENING:
            names.add(call.saves)
        elif call.name == "close" and isinstance(call.arguments[0], Saved):
            names.discard(call.arguments[0].name)
    return names


@contextlib.contextmanager
def holder(namespaces: CLONE) -> Iterator[int]:
    """Have a process in new namespaces for a while; yield its process id. Raises OSError."""
    launcher = os.getpid()

    def clone_holder(more: CLONE) -> int:
        pid = _clone3(namespaces | more)
        if pid == 0:
            libc.prctl(PR.SET_PDEATHSIG.value, SIGKILL, 0, 0, 0)
            while os.getppid() == launcher:
                signal.pause()
            os._exit(0)
        return pid

    pid = _cloned(clone_holder, ())
    try:
        yield pid
    finally:
        os.kill(pid, SIGKILL)  # the launcher's own child, not yet reaped, so the number is still its own
        os.waitpid(pid, 0)


def prepare_all(steps: Iterable[Step]) -> list[Work]:
    """Lay out all calls of a list of steps, each with the index of its step and its own in it; a hook is one, too."""
    work: list[Work] = []
    for at, step in enumerate(steps):
        work += [(at, 0, step.hook)] if step.hook else []
        work += [(at, index, prepare(call)) for index, call in enumerate(step.calls)]
    return work


def clone(
    plan: Plan, streams: tuple[int, int, int], channel: int, launchers_end: int, into: int, results: Results
) -> tuple[int, int]:
    """Clone the child that carries out the plan's steps; return its process id and a pidfd.

    `channel` is the child's end of the socket on which it reports a failure and meets its launcher; `launchers_end` the
    other, which nobody but the launcher may hold, so that the child sees when it is gone; `into` the descriptor of a
    version 2 cgroup or -1; `results` what the host's side knows by now. The descriptors given must be above 9. Raises
    OSError, and NotEnteredError for a step before that.
    """
    prepared = prepare_all(plan.steps)
    if any(step.hook for step in plan.steps):
        hooks.load()
    flags = plan.flags | CLONE.CLEAR_SIGHAND | (CLONE.INTO_CGROUP if into >= 0 else 0)

    def clone_child(more: CLONE) -> int:
        pid = _clone3(flags | more, max(into, 0))
        if pid == 0:
            try:
                os.close(launchers_end)
                _be_the_child(prepared, streams, channel, plan.shim, results)
            finally:
                os._exit(125)
        return pid

    pid = _cloned(clone_child, plan.enter)
    return pid, os.pidfd_open(pid)  # nobody else reaps it, so the number is still its own


def _clone3(flags: CLONE, cgroup: int = 0) -> int:
    """Clone this process; return 0 in the child and its process id in the parent. Raises OSError."""
    # A child that is cloned for another parent takes its signal from the process that clones it.
    arguments = clone_args(flags=flags, exit_signal=0 if CLONE.PARENT in flags else SIGCHLD, cgroup=cgroup)
    pid: int = _syscall(
        ctypes.c_long(number("clone3")), ctypes.byref(arguments), ctypes.c_long(ctypes.sizeof(arguments))
    )
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return pid


def _cloned(clone_child: Callable[[CLONE], int], enter: tuple[Step, ...]) -> int:
    """Have a child cloned, by this process itself where nothing stands against it; return its process id.

    Where other threads want the interpreter's lock a copy of this process would wait for one of them to take it, and it
    has none of them. Raises OSError where the clone failed, NotEnteredError for a step before it.
    """
    has_threads = len(os.listdir("/proc/self/task")) > 1
    return _through_a_go_between(enter, clone_child) if enter or has_threads else clone_child(CLONE(0))


def _through_a_go_between(steps: tuple[Step, ...], clone_child: Callable[[CLONE], int]) -> int:
    """Have a short-lived process join what is to be joined and clone the child as this process's own: CLONE_PARENT.

    The interpreter's own fork leaves it with a single thread and a lock that nobody else has asked for. Return the
    child's process id. Raises OSError where the clone failed, NotEnteredError for a step before it.
    """
    entering = prepare_all(steps)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it is for those who go on so
            between = os.fork()
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


def _enter_and_clone(entering: list[Work], clone_child: Callable[[CLONE], int]) -> tuple[int, int, int]:
    """Make the calls and clone; return the call that failed and its errno, or CLONED, an errno, the process id."""
    results: Results = {}
    for at, index, call in entering:
        assert isinstance(call, Prepared)
        code = perform(call, results)
        if code and code not in call.allowed:
            return at, index, code
    try:
        return CLONED, 0, clone_child(CLONE.PARENT)
    except OSError as error:
        return CLONED, error.errno or 0, 0


def _be_the_child(
    prepared: list[Work],
    streams: tuple[int, int, int],
    channel: int,
    shim: Callable[[], None] | None,
    results: Results,
) -> None:
    """Make the calls; the last one does not return. What this program itself cannot do is reported as well."""
    for target, source in enumerate(streams):
        os.dup2(source, target)
    os.dup2(channel, CHANNEL, inheritable=False)
    try:
        _make_calls(prepared, shim, results)
    except StartError as error:
        os.write(CHANNEL, (HOOK + str(error).encode(errors="replace"))[:LONGEST])
    except BaseException as error:
        code = getattr(error, "errno", None)
        text = explain_errno(code) if code else f"{type(error).__name__}: {error}"
        os.write(CHANNEL, (RAISED + text.encode(errors="replace"))[:LONGEST])


def _make_calls(prepared: list[Work], shim: Callable[[], None] | None, results: Results) -> None:
    last_step = prepared[-1][0]
    # What hooks are told is the number by which the host knows the container; its /proc is in sight now.
    number_outside = int(os.readlink("/proc/self")) if any(isinstance(call, Hook) for _, _, call in prepared) else 0
    for at, index, call in prepared:
        if at == last_step and index == 0 and shim is not None:
            shim()
        if isinstance(call, Hook):
            hooks.run(call, number_outside, results)
            continue
        code = perform(call, results)
        if code and code not in call.allowed:
            os.write(CHANNEL, FAILURE.pack(at, index, code))
            os._exit(125)
