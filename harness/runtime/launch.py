"""From a config and a bundle to a running container, and back to a host on which nothing is left of it."""

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.runtime import (
    causes,
    executable,
    hooks,
    hostside,
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
from harness.runtime.forked import FAILURE, Failed, NotEnteredError, Results, clone
from harness.runtime.front import Front
from harness.runtime.plan import plan as compile_plan
from harness.runtime.pool import Pool
from harness.runtime.replay import Child, HostSide
from harness.runtime.signals import PassedOn
from harness.runtime.step import CHANNEL, Host, Meeting, Plan
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
    what this process is sent meanwhile goes to the program, as a user in front of it expects; but a start with hooks,
    which may take long, is interrupted by SIGINT and SIGTERM: SystemExit. `alter` is applied to the plan: a sabotage,
    or a test that makes a step fail. Raises BadInput before anything has been done, StartError for a failed start; in
    every case nothing stays behind.
    """
    with prepared(config, bundle, alter) as container:
        return container.run(streams, deadline, pass_signals)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container that was planned for its host as it was then; it may run any number of times, one at a time.

    `places` are those for mounts that have to be made in the root. `undo` is empty between runs: to make one takes
    longer than anything else that is done before the clone.
    """

    config: Config
    host: Host
    plan: Plan
    places: list[str]
    child: Child | None
    host_side: HostSide | None
    pool: Pool | None
    undo: contextlib.ExitStack

    def run(self, streams: Streams, deadline: float | None = None, pass_signals: bool = False) -> int:
        """Run it to its end, as `run` does."""
        if self.child and not pass_signals:
            return self._replayed(self.child, streams, deadline)
        if self.child:
            with PassedOn() as passed_on:
                return self._replayed(self.child, streams, deadline, passed_on)
        front = Front(streams)
        # Around all that is undone: one that ended this process before would leave it to `isoproof doctor --clean`.
        signals = PassedOn(interrupted="hooks" in self.config) if pass_signals else contextlib.nullcontext()
        try:
            with signals as passed_on, contextlib.ExitStack() as undo:
                plan = replace(self.plan, meetings=self._meetings(front) | self.plan.meetings)
                cell = undo.enter_context(start(plan, streams))
                if passed_on:
                    undo.callback(passed_on.keep)
                    passed_on.to(cell.pidfd)
                return _attended(cell, front, deadline)
        finally:
            front.close()
            hooks.run_last(self.config, self.host)

    def _replayed(
        self, child: Child, streams: Streams, deadline: float | None, passed_on: PassedOn | None = None
    ) -> int:
        """Run what nobody has to meet; hardly anything stands between the request and the clone."""
        with self.undo as undo:
            if self.pool and (ready := self.pool.take()):
                undo.callback(self.pool.give_back, ready)
                child = self.pool.child
            cell = _started(self.plan, streams, child, self.host_side, {}, undo)
            if passed_on:
                undo.callback(passed_on.keep)
                passed_on.to(cell.pidfd)
            return cell.wait(deadline)

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
    child = Child(plan) if replay.fits(plan) and "hooks" not in config else None
    host_side = HostSide(plan.before) if child and plan.before and replay.fits_host_side(plan, config) else None
    pool = Pool(plan) if pooled and child else None
    with contextlib.ExitStack() as undo:
        if child:
            undo.enter_context(child.ready())
        if pool:
            undo.enter_context(pool.open())
        root = inspect.open_directory(Path(host.rootfs))
        undo.callback(os.close, root)
        lock = undo.enter_context(rootlock.shared(root, host.rootfs))  # before the look, or what is there might go
        places = inspect.missing_places(config, root)
        undo.enter_context(leftovers.recorded(host.name, leftovers.of(plan, host.rootfs, places)))
        undo.callback(leftovers.remove_places, lock, root, host.rootfs, places)
        yield Prepared(config, host, plan, places, child, host_side, pool, contextlib.ExitStack())


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
        yield _started(plan, streams, None, None, {}, undo)


def _started(
    plan: Plan,
    streams: Streams,
    child: Child | None,
    host_side: HostSide | None,
    results: Results,
    undo: contextlib.ExitStack,
) -> Cell:
    """Start a container; `undo` ends it and undoes everything.

    What is replayed are the steps of the `child` and those of the `host_side`, where they are given. `results` is what
    there is beforehand.
    """
    cgroups: list[Path] = []
    begin_copying = relay.nothing
    if plan.relay and not (child and child.hands_on(streams)):
        streams, begin_copying = relay.instead_of_files(streams, undo)
    if child:
        cell = _replay(plan, child, host_side, streams, results, undo, cgroups)
        begin_copying()
    else:
        _settle(plan, hostside.walk(plan.before, results), results, undo, cgroups)
        cell = _clone(plan, streams, begin_copying, results, undo, cgroups)
    if not plan.shim and executable.is_our_own(cell.pid):  # a shim is
        raise StartError(executable.REFUSED, "execute", status=126)
    for step in plan.after:
        hostside.run(step, results, undo)
    return cell


def _settle(
    plan: Plan, outcomes: Iterable[hostside.Outcome], results: Results, undo: contextlib.ExitStack, cgroups: list[Path]
) -> None:
    """Remember how to undo what was done on the host's side before there is a child; raise where it has failed."""
    for outcome in outcomes:
        hostside.settle(outcome, results, undo)
        kind, _, path = outcome.step.name.partition(":")
        if outcome.own_work and kind == "cgroup" and outcome.step.undo:
            cgroups.append(Path(path))
            undo.callback(_empty_cgroup, cgroups[-1], cgroups, plan.kill)


def _replay(
    plan: Plan,
    child: Child,
    host_side: HostSide | None,
    streams: Streams,
    results: Results,
    undo: contextlib.ExitStack,
    cgroups: list[Path],
) -> Cell:
    """Clone the child, which has become the program, or has failed, when this returns."""
    if host_side and host_side.walk():
        undo.callback(_undo_host_side, plan, host_side, results)
        cgroups += host_side.cgroups
    elif plan.before:
        walked = host_side.outcomes(results) if host_side else hostside.walk(plan.before, results)
        _settle(plan, walked, results, undo, cgroups)
    into = os.open(plan.into, O.PATH | O.CLOEXEC) if plan.into else -1
    try:
        pid, pidfd, failed = child.clone(streams, into, results)
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


def _undo_host_side(plan: Plan, host_side: HostSide, results: Results) -> None:
    """Undo what a table has done; where that is not enough, step by step."""
    if not host_side.undo():
        with contextlib.ExitStack() as undo:
            _settle(plan, host_side.outcomes(results), results, undo, [])


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
                hostside.run(step, results, undo)
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
                shims = "a PID 1 that reaps takes a second process and a pipe, by fork(2) and pipe2(2)"
                cause = shims if plan.shim else "no call of the plan"
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


def _empty_cgroup(cgroup: Path, made: list[Path], kill: Callable[[Path, list[Path]], bool]) -> None:
    """Kill what is left in a cgroup, where no PID namespace has done it, and remove the cgroups inside it."""
    try:
        os.rmdir(cgroup)  # which goes well where nothing is left in it
    except OSError:
        kill(cgroup, made)
        members.remove_inner(cgroup)
