"""From a config and a bundle to a running container, and back to a host on which nothing is left of it."""

import contextlib
import errno
import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.runtime import (
    causes,
    executable,
    hooks,
    inspect,
    leftovers,
    listener,
    members,
    relay,
    rendezvous,
    replay,
    rootlock,
    supervise,
    terminal,
)
from harness.runtime.config import Config
from harness.runtime.errors import StartError
from harness.runtime.forked import FAILURE, Failed, NotEnteredError, Results, clone, holder, run_here
from harness.runtime.front import Front
from harness.runtime.plan import plan as compile_plan
from harness.runtime.pool import Pool, discard
from harness.runtime.replay import Table
from harness.runtime.step import CHANNEL, Host, Meeting, Plan, Saved, Step
from harness.runtime.syscalls import O, socketpair

Streams = tuple[int, int, int]
Alteration = Callable[[Plan], Plan]
LOWEST_FREE = CHANNEL + 1  # descriptors below are the child's: its standard streams and the channel


@dataclass(frozen=True, slots=True)
class Cell:
    """One running container of ours."""

    pid: int
    pidfd: int
    cgroups: Sequence[Path] = ()

    def wait(self, deadline: float | None = None) -> int:
        """Wait for the first process; return its exit status as shells do, 124 if the deadline (seconds) was over."""
        return supervise.wait(self.pid, self.pidfd, deadline, self.cgroups)


def run(
    config: Config,
    bundle: Path,
    streams: Streams,
    deadline: float | None = None,
    alter: Alteration | None = None,
    pass_signals: bool = False,
) -> int:
    """Run a container to its end and return its exit status as shells do; 124 when the deadline (seconds) was over.

    What the program's terminal shows, where it has one, is copied to the streams, and input to it. With `pass_signals`
    what this process is sent meanwhile goes to the program, as a user in front of it expects. `alter` is applied to the
    plan: a sabotage, or a test that makes a step fail. Raises BadInput before anything has been done, StartError for a
    failed start; in every case nothing stays behind.
    """
    with prepared(config, bundle, alter) as container:
        return container.run(streams, deadline, pass_signals)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container that was planned for its host as it was then; it may run any number of times, one at a time."""

    config: Config
    host: Host
    plan: Plan
    table: Table | None
    pool: Pool | None

    def run(self, streams: Streams, deadline: float | None = None, pass_signals: bool = False) -> int:
        """Run it to its end, as `run` does."""
        if self.table:  # nothing of it is met, and hardly anything stands between the request and the clone
            with contextlib.ExitStack() as undo:
                table, results = self.table, {}
                if self.pool and (ready := self.pool.take()):
                    undo.callback(discard, ready)
                    table, results = self.pool.table, ready
                cell = _started(self.plan, streams, table, undo, results.copy())
                with supervise.signals_passed_on(cell.pidfd) if pass_signals else contextlib.nullcontext():
                    return cell.wait(deadline)
        front = Front(streams)
        try:
            with start(replace(self.plan, meetings=self._meetings(front) | self.plan.meetings), streams) as cell:
                with supervise.signals_passed_on(cell.pidfd) if pass_signals else contextlib.nullcontext():
                    return _attended(cell, front, deadline)
        finally:
            front.close()
            hooks.run_last(self.config, self.host)

    def _meetings(self, front: Front) -> dict[str, Meeting]:
        return {
            terminal.MEETING: front.meet,
            listener.MEETING: listener.to_its_program(self.config, self.host),
            hooks.MEETING: hooks.by_launcher(self.config, self.host),
        }


@contextlib.contextmanager
def prepared(config: Config, bundle: Path, alter: Alteration | None = None, pooled: bool = False) -> Iterator[Prepared]:
    """Do all of a start that can be done once for many, and undo it when the context is left.

    If it is `pooled` it has a pool to fill between starts, provided that it is one to be replayed. Raises BadInput.
    """
    host = inspect.host(config, bundle)
    plan = compile_plan(config, host)
    plan = alter(plan) if alter else plan
    table = Table(plan) if replay.fits(plan) and "hooks" not in config else None
    pool = Pool(plan) if pooled and table else None
    with contextlib.ExitStack() as undo:
        if table:
            undo.enter_context(table.ready())
        if pool:
            undo.enter_context(pool.open())
        root = inspect.open_directory(Path(host.rootfs))
        undo.callback(os.close, root)
        lock = undo.enter_context(rootlock.shared(root, host.rootfs))  # before the look, or what is there might go
        places = inspect.missing_places(config, root)
        undo.enter_context(leftovers.recorded(host.name, leftovers.of(plan, host.rootfs, places)))
        undo.callback(leftovers.remove_places, lock, root, host.rootfs, places)
        yield Prepared(config, host, plan, table, pool)


def _attended(cell: Cell, front: Front, deadline: float | None) -> int:
    """Wait for the first process; copy to and from its terminal meanwhile, where it has one."""
    if front.master < 0:
        return cell.wait(deadline)
    end = None if deadline is None else time.monotonic() + deadline
    with front.raw():
        front.copy(cell.pidfd, end)
    return cell.wait(None if end is None else max(0.0, end - time.monotonic()))


@contextlib.contextmanager
def start(plan: Plan, streams: Streams) -> Iterator[Cell]:
    """Start a container; leaving the context ends it and undoes everything.

    Raises StartError where a step fails.
    """
    with contextlib.ExitStack() as undo:
        yield _started(plan, streams, None, undo, {})


def _started(plan: Plan, streams: Streams, table: Table | None, undo: contextlib.ExitStack, results: Results) -> Cell:
    """Start a container, by replaying its table if there is one; `undo` ends it and undoes everything.

    `results` is what there is beforehand.
    """
    cgroups: list[Path] = []
    streams, begin_copying = relay.instead_of_files(streams, undo) if plan.relay else (streams, relay.nothing)
    made = set()
    for step in plan.before:
        kind, _, path = step.name.partition(":")
        if kind == "cpuset" and path not in made and Path(path, "cpuset.cpus").read_text().strip():
            continue  # a cgroup that was there already, with CPUs of somebody else's choice
        if _run(step, results, undo):
            made.add(path)
            if kind == "cgroup":
                cgroups.append(Path(path))
                undo.callback(_empty_cgroup, cgroups[-1], cgroups, plan.kill_leftovers)
    if table:
        cell = _replay(plan, table, streams, results, undo, cgroups)
        begin_copying()
    else:
        cell = _clone(plan, streams, begin_copying, results, undo, cgroups)
    if not plan.shim and executable.is_our_own(cell.pid):  # a shim is
        raise StartError(
            "execute: the program is the launcher's own executable, by a link to /proc/self/exe",
            "execute",
            status=126,
        )
    for step in plan.after:
        _run(step, results, undo)
    return cell


def _replay(
    plan: Plan, table: Table, streams: Streams, results: Results, undo: contextlib.ExitStack, cgroups: list[Path]
) -> Cell:
    """Clone the child, which has become the program, or has failed, when this returns."""
    into = os.open(plan.into, O.PATH | O.CLOEXEC) if plan.into else -1
    try:
        pid, pidfd, failed = table.clone(streams, into, results)
    except OSError as error:
        raise _not_cloned(plan, error) from error
    finally:
        if plan.into:
            os.close(into)
    undo.callback(os.close, pidfd)
    undo.callback(_end, pid, pidfd, cgroups)
    results["pid"] = pid
    if failed:
        raise causes.error(failed)
    return Cell(pid, pidfd, cgroups)


def _not_cloned(plan: Plan, error: OSError) -> StartError:
    number = error.errno or 0
    return StartError(causes.sentence("clone", f"clone3({plan.flags})", number), "clone", number)


def _clone(
    plan: Plan,
    streams: Streams,
    begin_copying: Callable[[], None],
    results: Results,
    undo: contextlib.ExitStack,
    cgroups: list[Path],
) -> Cell:
    """Clone the child, let it go when the host's side is done, and wait until it has become the program or failed."""
    with contextlib.ExitStack() as descriptors, contextlib.ExitStack() as childs:

        def keep(descriptor: int, stack: contextlib.ExitStack = descriptors) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        ends = socketpair()
        channel, childs_end = keep(_out_of_the_way(ends[0])), keep(_out_of_the_way(ends[1]), childs)
        stdin, stdout, stderr = (
            stream if stream >= LOWEST_FREE else keep(_copy_out_of_the_way(stream)) for stream in streams
        )
        into = keep(os.open(plan.into, O.PATH | O.CLOEXEC)) if plan.into else -1
        try:
            pid, pidfd = clone(plan, (stdin, stdout, stderr), childs_end, channel, into, results)
        except OSError as error:
            raise _not_cloned(plan, error) from error
        except NotEnteredError as error:
            raise causes.error(error.failed) from error
        undo.callback(os.close, pidfd)
        undo.callback(_end, pid, pidfd, cgroups)
        results["pid"] = pid
        begin_copying()
        try:
            for step in plan.between:
                _run(step, results, undo)
        except StartError:
            if rendezvous.has_spoken(channel):
                _attend(plan, pid, channel)  # the child failed first, and what has failed here needs it alive
            raise
        childs.close()  # once: by the end of the context its number may be that of something else
        if plan.between:
            rendezvous.answer(channel)
        _attend(plan, pid, channel)
    return Cell(pid, pidfd, cgroups)


def _attend(plan: Plan, pid: int, channel: int) -> None:
    """Meet the child wherever it asks for it, until it has become the program. Raises StartError where it failed."""
    meets = any(step.name.startswith("meet:") for step in plan.steps)
    while True:
        said, descriptors = rendezvous.receive(channel, meets)
        try:
            if said.startswith(rendezvous.MEETING):
                plan.meetings[said.removeprefix(rendezvous.MEETING).decode()](pid, descriptors)
                rendezvous.answer(channel)
            elif said.startswith(rendezvous.HOOK):
                text = said.removeprefix(rendezvous.HOOK).decode(errors="replace")
                raise StartError(text, text.partition(":")[0])
            elif said.startswith(rendezvous.RAISED):
                text = said.removeprefix(rendezvous.RAISED).decode(errors="replace")
                cause = "a PID 1 that reaps takes a second process, by fork(2)" if plan.shim else "no call of the plan"
                raise StartError(f"start the program: {text}; {cause}", "start")
            elif said:
                at, index, number = FAILURE.unpack(said)
                step = plan.steps[at]
                raise causes.error(Failed(step, step.calls[index], number))
            else:
                return
        finally:
            for descriptor in descriptors:
                _close(descriptor)


def _out_of_the_way(descriptor: int) -> int:
    """Move a descriptor out of the way of those that the child arranges for itself, if it is in it."""
    if descriptor >= LOWEST_FREE:
        return descriptor
    raised = _copy_out_of_the_way(descriptor)
    os.close(descriptor)
    return raised


def _copy_out_of_the_way(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LOWEST_FREE)


def _close(descriptor: int) -> None:
    """Close a descriptor that may be closed already."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _end(pid: int, pidfd: int, cgroups: list[Path]) -> None:
    """Kill the first process, if it has not ended, and reap it, if nobody has.

    A container that has frozen itself is thawed until it is dead; a process of its own may freeze it once more.
    """
    supervise.kill(pidfd)
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    while not ended.poll(members.PAUSE * 1000):
        for cgroup in cgroups:
            members.thaw(cgroup)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _run(step: Step, results: Results, undo: contextlib.ExitStack) -> bool:
    """Run a step on the host's side and remember how to undo it; return whether its work is all its own."""
    if step.program:
        _run_program(step, results)
    if step.hook:
        hooks.run(step.hook, results["pid"], results)
    try:
        with holder(step.holder) if step.holder else contextlib.nullcontext(0) as results["holder"]:
            failed, own_work = run_here(step, results)
    except OSError as error:
        number = error.errno or 0
        raise StartError(causes.sentence(step.name, f"clone3({step.holder})", number), step.name, number) from error
    nothing_done = failed is not None and failed.call is step.calls[0]
    if step.undo and own_work and not nothing_done:
        undo.callback(_undo, step, results)
    if failed:
        raise causes.error(failed)
    return own_work


def _run_program(step: Step, results: Results) -> None:
    """Run a program of the host's. Raises StartError, with what it said, where it fails."""
    import subprocess  # only here, for few starts need it and all would wait for it

    words = [word.format(**results) for word in step.program]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        number = error.errno or 0
        raise StartError(causes.sentence(step.name, words[0], number), step.name, number) from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise StartError(
            f"{step.name}: {' '.join(words)}: EPERM ({said}); the ids that an ordinary user may map are his own and "
            "those that root gave him in /etc/subuid and /etc/subgid",
            step.name,
            errno.EPERM,
        )


def _undo(step: Step, results: Results) -> None:
    """Undo a step, but for results that it has never had; the kernel may need a moment to let go.

    Raises StartError, with the object's name, for what stays behind all the same.
    """
    if step.name.startswith("enable:") and members.neighbours(Path(str(step.calls[0].arguments[1])).parent):
        return  # others live there; one that is made between this look and the write would lose its limits
    known, calls = set(results), []
    for call in step.undo:
        if {part.name for part in call.arguments if isinstance(part, Saved)} <= known:
            calls.append(call)
            known.add(call.saves)
    taken_back = Step(f"undo {step.name}", step.why, tuple(calls))
    end = time.monotonic() + members.PATIENCE
    while True:
        failed, _ = run_here(taken_back, results)
        if not failed:
            return
        if failed.number != errno.EBUSY or time.monotonic() > end:
            raise causes.error(failed)
        time.sleep(members.PAUSE)


def _empty_cgroup(cgroup: Path, made: list[Path], kill: bool) -> None:
    """Kill what is left in a cgroup, where no PID namespace has done it, and remove the cgroups inside it."""
    if kill:
        members.kill(cgroup, made)
    members.remove_inner(cgroup)
