"""Parts of containers that are made before anybody asks for them: fresh, and used once.

The network namespace alone is half of a start. A thread makes it and the IPC namespace in advance, and in them the
file systems that need no more than that; a container that is given them only has to enter and to put them in their
places. What is used is never used again.
Mount and PID namespaces are not kept ready: the one would hold the host's mounts of another moment, the other ends with
its first process. Inside nothing tells one from the other but the order of the lines in /proc/self/mountinfo: newer
kernels put what is older first.
"""

import contextlib
import errno
import functools
import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

from harness.runtime import causes
from harness.runtime.devices import DIRECTORY
from harness.runtime.errors import StartError
from harness.runtime.forked import Results, close_opened, left_open, run_here
from harness.runtime.mounts import mask_beforehand
from harness.runtime.mountsources import make
from harness.runtime.privileges import clear_umask
from harness.runtime.replay import Child
from harness.runtime.step import Call, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, CLONE, MOVE_MOUNT, O

NAMESPACES = {CLONE.NEWNET: "net", CLONE.NEWIPC: "ipc"}
STEPS = ("loopback", "device-links")
FILESYSTEMS = {"tmpfs", "devpts", "mqueue", "sysfs"}  # not proc and cgroup, which are those of other namespaces


class Pool:
    """The parts of one container, ready for some of its starts."""

    def __init__(self, plan: Plan) -> None:
        self._fill, rest = split(plan)
        self.child = Child(rest)
        self._ready: list[Results] = []

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Keep what is ready while the context lasts."""
        with self.child.ready():
            try:
                yield
            finally:
                while self._ready:
                    _discard(self._ready.pop())

    def fill(self) -> None:
        """Make the parts for one more start, by a thread, which alone leaves this process's namespaces.

        Raises StartError.
        """
        failures: list[StartError] = []

        def make() -> None:
            try:
                self._ready.append(_make(self._fill))
            except StartError as error:
                failures.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        self._lay_in()

    def take(self) -> Results | None:
        """Return the descriptors of what is ready for one start, if there is any; the child knows them already.

        Whoever takes them gives them back when the start is over.
        """
        return self._ready.pop() if self._ready else None

    def give_back(self, used: Results) -> None:
        """Close what was ready for a start that is over: what nobody else uses is gone with that."""
        _discard(used)
        self._lay_in()

    def _lay_in(self) -> None:
        """Let the child know what is taken next, as long as nobody waits for it."""
        if self._ready:
            self.child.table.fill(self._ready[-1])


def _discard(results: Results) -> None:
    for descriptor in results.values():
        os.close(descriptor)


def split(plan: Plan) -> tuple[tuple[Step, ...], Plan]:
    """Return what of a plan need not wait for a request, and a plan that finds it there."""
    flags = [flag for flag in NAMESPACES if flag in plan.flags]
    ready = [step for step in plan.steps if _may_be_ready(step)]
    if attaches_to_detached():
        ready += _in_dev(plan, ready)
    masks = {step.name: mask_beforehand(step) for step in plan.steps if _masks_directory(step)}
    first, *others = [masks[step.name][1] if step.name in masks else step for step in plan.steps if step not in ready]
    made = [step for step in plan.steps if step in ready] + [cover for cover, _ in masks.values()]
    fill = (_leave(flags), clear_umask(), *made, _look_up(plan, ready), *(_open(NAMESPACES[flag]) for flag in flags))
    kept = plan.flags
    for flag in flags:
        kept &= ~flag
    return fill, replace(plan, flags=kept, steps=(first, _enter(flags), *others))


@functools.cache
def attaches_to_detached() -> bool:
    """Return whether the kernel attaches a mount to one that is not attached itself: since Linux 6.15."""
    outer, inner = Saved("outer"), Saved("inner")
    calls = (
        *make("tmpfs", "tmpfs", [], outer.name),
        *make("tmpfs", "tmpfs", [], inner.name),
        Call("mkdirat", (outer, "inner", 0o755)),
        Call("move_mount", (inner, "", outer, "inner", MOVE_MOUNT.F_EMPTY_PATH)),
    )
    results: Results = {}
    failed, _ = run_here(Step("attach-detached", "to what nobody sees yet: move_mount(2)", calls), results)
    if not failed:
        close_opened(calls, results)
    return not failed


def _may_be_ready(step: Step) -> bool:
    names = [call.name for call in step.calls]
    if step.name == "devices":  # those in directories are not made where a mount may come between
        return "openat2" not in names
    made = {call.arguments[0] for call in step.calls if call.name == "fsopen"}
    opens = step.name.startswith("open:") and bool(made) and "open_tree" not in names
    return step.name in STEPS or (opens and made <= FILESYSTEMS)


def _in_dev(plan: Plan, ready: list[Step]) -> list[Step]:
    """Return the steps that attach what is ready to the own /dev, up to the first that attaches anything else."""
    handles = [Saved(call.saves) for step in ready for call in step.calls]

    def attaches(step: Step) -> bool:
        moves = [call.arguments for call in step.calls if call.name == "move_mount"]
        return bool(moves) and moves[0][0] in handles and moves[0][2] == Saved(DIRECTORY)

    later = itertools.dropwhile(lambda step: step.name != "mount:/dev", plan.steps)
    return [*itertools.takewhile(attaches, itertools.islice(later, 1, None))]


def _masks_directory(step: Step) -> bool:
    """Return whether a step masks what is a directory here, and so most likely in the container."""
    return step.name.startswith("mask:") and os.path.isdir(step.name.removeprefix("mask:"))


def _look_up(plan: Plan, ready: list[Step]) -> Step:
    """Return the step that has the kernel read in what masks will look for in file systems that are ready."""
    found = Saved("looked-up")
    mounts = {
        step.name.removeprefix("open:"): Saved(call.saves)
        for step in ready
        for call in step.calls
        if call.name == "fsmount"
    }
    calls: tuple[Call, ...] = ()
    for path in (step.name.removeprefix("mask:") for step in plan.steps if step.name.startswith("mask:")):
        for above, mount in mounts.items():
            if path.startswith(f"{above}/"):
                inner = path.removeprefix(f"{above}/")
                look = Call(
                    "openat", (mount, inner, O.PATH | O.CLOEXEC), (errno.ENOENT, errno.ENOTDIR), saves=found.name
                )
                calls += (look, Call("close", (found,), (errno.EBADF,)))
    return Step("look-up", "a file system that has just been made knows nothing yet: path_resolution(7)", calls)


def _leave(flags: list[CLONE]) -> Step:
    wanted = CLONE.FS  # the umask is a thread's own only without that
    for flag in flags:
        wanted |= flag
    return Step("leave", "namespaces that nobody has been in: unshare(2)", (Call("unshare", (wanted,)),))


def _open(name: str) -> Step:
    opened = Call("openat", (AT_FDCWD, f"/proc/thread-self/ns/{name}", O.CLOEXEC), saves=_handle(name))
    return Step(f"keep:{name}", "a namespace lives as long as somebody has it open: namespaces(7)", (opened,))


def _enter(flags: list[CLONE]) -> Step:
    calls = tuple(Call("setns", (Saved(_handle(NAMESPACES[flag])), flag)) for flag in flags)
    return Step("enter-ready", "made beforehand, and fresh: setns(2)", calls)


def _handle(name: str) -> str:
    return f"ready {name}"


def _make(steps: tuple[Step, ...]) -> Results:
    results: Results = {}
    done: tuple[Call, ...] = ()
    for step in steps:
        failed, _ = run_here(step, results)
        if failed:
            close_opened(done, results)
            raise causes.error(failed)
        done += step.calls
    return {name: results[name] for name in left_open(done)}
