"""Parts of containers that are made before anybody asks for them: fresh, and used once.

The network namespace alone is half of a start. A thread makes it and the IPC namespace in advance, and in them the
mounts that need no more than that; a container that is given them only has to enter. What is used is never used again.
Mount and PID namespaces are not kept ready: the one would hold the host's mounts of another moment, the other ends with
its first process. Inside nothing tells one from the other but the order of the lines in /proc/self/mountinfo: newer
kernels put what is older first.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

from harness.runtime import causes
from harness.runtime.errors import StartError
from harness.runtime.forked import Results, close_opened, left_open, run_here
from harness.runtime.privileges import clear_umask
from harness.runtime.replay import Child
from harness.runtime.step import Call, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, CLONE, O

NAMESPACES = {CLONE.NEWNET: "net", CLONE.NEWIPC: "ipc"}
STEPS = ("loopback", "device-links")
FILESYSTEMS = ("tmpfs", "devpts", "mqueue", "sysfs")  # not proc, which is the PID namespace's


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
                    discard(self._ready.pop())

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

    def take(self) -> Results | None:
        """Return the descriptors of what is ready for one start, if there is any; they are the caller's now."""
        return self._ready.pop() if self._ready else None


def discard(results: Results) -> None:
    """Close what was ready and is not wanted any more: what nobody uses is gone with that."""
    for descriptor in results.values():
        os.close(descriptor)


def split(plan: Plan) -> tuple[tuple[Step, ...], Plan]:
    """Return what of a plan need not wait for a request, and a plan that finds it there."""
    flags = [flag for flag in NAMESPACES if flag in plan.flags]
    ready = [step for step in plan.steps if _may_be_ready(step)]
    fill = (_leave(flags), clear_umask(), *ready, *(_open(NAMESPACES[flag]) for flag in flags))
    first, *others = [step for step in plan.steps if step not in ready]
    kept = plan.flags
    for flag in flags:
        kept &= ~flag
    return fill, replace(plan, flags=kept, steps=(first, _enter(flags), *others))


def _may_be_ready(step: Step) -> bool:
    names = [call.name for call in step.calls]
    if step.name == "devices":  # those in directories are not made where a mount may come between
        return "openat2" not in names
    opens = names[:1] == ["fsopen"] and step.calls[0].arguments[0] in FILESYSTEMS
    return step.name in STEPS or (step.name.startswith("open:") and opens)


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
