"""Several containers at once, whatever is done to them and in whatever order: each ends as it should, and sees its own.

A state machine holds the runtime against what is known of the containers (`tests.property.lives`): after each step the
host has what they need, and nothing else, and each of them sees what belongs to it, and nothing of the others.
"""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from harness.runtime import leftovers, members
from harness.runtime.supervise import DEADLINE_STATUS
from tests.kernel.throwaway import in_throwaway
from tests.property.lives import (
    AROUND,
    FAILING,
    KILLED,
    KINDS,
    REFUSED,
    SIGNALS,
    USERS_KINDS,
    Life,
    State,
    expect_end,
    note_cleaning,
    note_end,
    note_kill,
    note_orphans,
    note_signal,
    note_start,
    note_thaw,
    prepare,
    prepare_into,
)
from tests.property.obedient import EndedError, Obedient, build
from tests.property.seen import wrong_inside, wrong_on_host
from tests.property.stage import ROOTS, Stage, assert_settled, stage

pytestmark = pytest.mark.usefixtures("needs_namespaces")

STEPS = 20
MOST = 4  # launchers at once

Condition = Callable[[Life], bool]
Rule = Callable[..., Any]
SIGNAL = st.sampled_from(SIGNALS)
ROOT = st.sampled_from(range(len(ROOTS)))
CONTAINERS = Bundle[Life]("containers")


def for_one(condition: Condition, **strategies: st.SearchStrategy[Any]) -> Callable[[Rule], Rule]:
    """Make a rule for a container of which this is true; without such a one there is no rule."""

    there_is_one = precondition(lambda machine: any(map(condition, machine.lives)))
    arguments: dict[str, Any] = {"life": CONTAINERS.filter(condition), **strategies}
    make: Callable[[Rule], Rule] = rule(**arguments)
    return lambda function: there_is_one(make(function))


def may_be_created(machine: "Lives") -> bool:
    return len(machine.launched()) < MOST


def can_be_joined(life: Life) -> bool:
    return life.state == State.RUNNING and life.target is None and life.kind != "unhidden"


def can_be_frozen(life: Life) -> bool:
    return life.state == State.RUNNING and not life.frozen and bool(life.freezers)


def can_be_signalled(life: Life) -> bool:
    return life.state == State.RUNNING


def can_be_collected(life: Life) -> bool:
    return life.state == State.ENDING and not life.is_stuck


def can_be_orphaned(life: Life) -> bool:
    return life.launched and (life.target is None or not (life.is_stuck or life.around.frozen == 1))


def can_be_thawed(life: Life) -> bool:
    return bool(life.frozen) and life.state in (State.RUNNING, State.ORPHANED)


def can_run(life: Life) -> bool:
    return life.can_start and not life.comes_too_late


class Lives(RuleBasedStateMachine):
    """What can be done to containers, and what has to be so afterwards."""

    stage: ClassVar[Stage]
    kinds: ClassVar[Sequence[str]]
    share: ClassVar[float]  # of the examples that a test of one value has

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[Life] = []
        self.may_be_recorded: set[str] = set()
        self.numbers = itertools.count(1)
        self.lasting = self.stage.lasting()
        self.before = self.stage.left()

    @precondition(may_be_created)
    @rule(
        target=CONTAINERS,
        kind=st.runner().flatmap(lambda machine: st.sampled_from(machine.kinds)),
        root=ROOT,
        starts=st.booleans(),
    )
    def create(self, kind: str, root: int, starts: bool) -> Life:
        """Prepare a container, and start it if it is not to wait for that; several may have the same bundle."""
        life = self.add(prepare(self.stage, f"cell-{next(self.numbers)}", kind, root))
        if starts:
            self.start(life)
        return life

    @precondition(may_be_created)
    @for_one(can_be_joined, target=CONTAINERS, shares_cgroup=st.booleans(), root=ROOT, starts=st.booleans())
    def create_exec(self, life: Life, shares_cgroup: bool, root: int, starts: bool) -> Life:
        """Prepare a container that joins the namespaces of another one, and perhaps its cgroups."""
        shares_cgroup = shares_cgroup and bool(life.launcher.cgroups)
        made = self.add(prepare_into(self.stage, f"exec-{next(self.numbers)}", life, shares_cgroup, root))
        if starts and made.can_start:
            self.start(made)
        return made

    @precondition(lambda machine: not any(life.kind in FAILING for life in machine.lives))  # once is enough
    @rule(kind=st.sampled_from(sorted(FAILING)), root=ROOT)
    def create_what_cannot_start(self, kind: str, root: int) -> None:
        life = self.add(prepare(self.stage, f"cell-{next(self.numbers)}", kind, root))
        with life.launcher.run():
            assert life.launcher.status() == FAILING[kind]
        self.delete(life)

    @for_one(lambda life: life.can_start)
    def start(self, life: Life) -> None:
        end = life.launcher.run()
        if life.comes_too_late:
            is_over = life.target is None or life.target.world is not life.joined
            assert life.launcher.status() in ({REFUSED} if is_over else {REFUSED, KILLED})
            end.close()
        else:
            life.is_starting()
            self.has_started(life, Obedient(end))

    @for_one(can_run, deadline=st.sampled_from([0.0, 0.002]))
    def start_with_deadline(self, life: Life, deadline: float) -> None:
        with life.launcher.run(deadline):
            assert life.launcher.status() == DEADLINE_STATUS

    @for_one(lambda life: can_run(life) and bool(life.freezers), version=st.sampled_from([1, 2]))
    def pause_beyond_the_deadline(self, life: Life, version: int) -> None:
        """Freeze a container until its deadline is over, if that is not over before."""
        program = Obedient(life.launcher.run(0.03))
        with contextlib.suppress(EndedError, OSError):
            program.ask("pid")
            members.freeze(life.freezers.get(version) or min(life.freezers.values()))
        assert life.launcher.status() == DEADLINE_STATUS
        program.close()

    @for_one(can_run, numbers=st.sets(SIGNAL))
    def start_signalled(self, life: Life, numbers: set[int]) -> None:
        """Send signals to a launcher that may be anywhere in a start, and has nobody yet to pass them on to."""
        program = Obedient(life.launcher.run())
        assert_settled(lambda: not life.launcher.passes_signals_on())
        life.is_starting()
        for number in sorted(numbers):
            life.launcher.signal(number)
            if status := life.end_by(number):
                assert life.launcher.status() == status
                program.close()
                return
        self.has_started(life, program)

    @for_one(lambda life: life.runs, number=SIGNAL)
    def ignore(self, life: Life, number: int) -> None:
        assert life.ask(f"ignore {int(number)}") == ["0"]
        life.ignored.add(number)

    @for_one(lambda life: life.runs, status=st.integers(0, 255))
    def exit(self, life: Life, status: int) -> None:
        life.order(f"exit {status}")
        expect_end(life, {status}, self.lives)

    @for_one(can_be_signalled, number=SIGNAL)
    def signal(self, life: Life, number: int) -> None:
        """Send a signal to the launcher, which passes it on."""
        life.launcher.signal(number)
        note_signal(life, number, self.lives)

    @for_one(can_be_signalled)
    def kill(self, life: Life) -> None:
        """Kill the first process."""
        os.kill(life.launcher.first_process(), signal.SIGKILL)
        note_kill(life, self.lives)

    @for_one(can_be_frozen, version=st.sampled_from([1, 2]))
    def pause(self, life: Life, version: int) -> None:
        life.frozen = version if version in life.freezers else min(life.freezers)  # where there is one version alone
        life.freezer = life.freezers[life.frozen]
        assert members.freeze(life.freezer)

    @for_one(lambda life: life.state == State.ENDING and bool(life.freezers), version=st.sampled_from([1, 2]))
    def pause_and_resume_at_the_end(self, life: Life, version: int) -> None:
        """Freeze what may be anywhere on its way out, and thaw it if it was still there."""
        path = life.freezers.get(version) or min(life.freezers.values())
        with contextlib.suppress(OSError):
            members.freeze(path)
            members.thaw(path)

    @for_one(can_be_thawed)
    def resume(self, life: Life) -> None:
        members.thaw(life.freezer)
        note_thaw(life, self.lives)

    @for_one(can_be_collected)
    def wait(self, life: Life) -> None:
        status = life.launcher.status()
        assert status in life.statuses
        note_end(life)

    @for_one(lambda life: life.state == State.PREPARED)
    def delete(self, life: Life) -> None:
        life.launcher.delete()
        life.state = State.GONE
        if life.kind == "named":  # the cgroup around it may be another's, too
            self.may_be_recorded.add(life.launcher.record)

    @for_one(can_be_orphaned)
    def kill_launcher(self, life: Life) -> None:
        life.launcher.kill()
        note_orphans(life, self.lives)

    @precondition(lambda machine: any(life.state == State.ORPHANED for life in machine.lives))
    @rule()
    def clean(self) -> None:
        """Do what `isoproof doctor --clean` does."""
        list(leftovers.remove())
        for life in self.lives:
            if life.state == State.ORPHANED:
                note_cleaning(life)
                self.may_be_recorded.add(life.launcher.record)  # as long as others live in the root

    @invariant()
    def the_host_has_what_they_need_and_nothing_else(self) -> None:
        assert self.stage.lasting() == self.lasting
        assert_settled(partial(wrong_on_host, self.stage, self.lives, self.may_be_recorded))

    @invariant()
    def each_sees_what_belongs_to_it(self) -> None:
        for life in self.lives:
            if life.runs:
                assert_settled(partial(wrong_inside, life, self.lives))

    def teardown(self) -> None:
        cgroups = {cgroup for life in self.lives for cgroup in life.launcher.cgroups}
        cgroups |= {cgroup.parent for cgroup in cgroups if cgroup.parent.name == AROUND}
        try:
            if sys.exc_info()[0] is None:  # else it has failed already, and nothing is as it should be
                self.end_all()
                assert_settled(self.left)
                assert not [cgroup for cgroup in cgroups if cgroup.exists()]
        finally:
            for life in self.lives:
                life.close()
            self.stage.clear(cgroups)

    def end_all(self) -> None:
        """End all that lives, and clear up after those that were killed."""
        for life in filter(can_be_thawed, self.lives):
            self.resume(life)
        for life in filter(can_be_signalled, self.lives):
            self.kill(life)
        for life in filter(can_be_collected, self.lives):
            self.wait(life)
        for life in self.lives:
            if life.state == State.PREPARED:
                self.delete(life)
        if self.may_be_recorded or any(life.state == State.ORPHANED for life in self.lives):
            self.clean()

    def left(self) -> dict[str, tuple[object, object]]:
        """Return what is not as it was before, with what it was."""
        now = self.stage.left()
        return {kind: (self.before[kind], found) for kind, found in now.items() if found != self.before[kind]}

    def launched(self) -> list[Life]:
        return [life for life in self.lives if life.launched]

    def add(self, life: Life) -> Life:
        self.lives.append(life)
        return life

    def has_started(self, life: Life, program: Obedient) -> None:
        """Have the program leave its things everywhere, and a child that does not end by itself; take note of them."""
        mark = str(next(self.numbers))
        pid, child, *done = program.ask("pid", "fork", f"touch /dev/shm/{mark}", f"key {mark}", f"bind {mark}")
        assert not [answer for answer in done if answer.startswith("errno")]
        note_start(life, program, mark, int(pid), int(child))


class RootsLives(Lives):
    """Root's containers."""

    kinds = KINDS
    share = 0.4


class UsersLives(Lives):
    """An ordinary user's, who has no cgroups where they are of version 1, and none that he was not given elsewhere."""

    kinds = USERS_KINDS
    share = 0.2


def settings_of(machine: type[Lives]) -> settings:
    """Return the settings of the profile, for examples that take a hundred times as long as those of most tests."""
    made = settings(stateful_step_count=STEPS, suppress_health_check=list(HealthCheck))
    made = settings(made, max_examples=int(made.max_examples * machine.share))
    return settings(made, database=None) if machine is UsersLives else made  # which is not the user's to write to


def play(machine: type[Lives], program: Path) -> None:
    """Let Hypothesis look for a life that goes wrong, on a host of its own."""

    def look() -> None:
        with stage(program, user=machine is UsersLives) as machine.stage:
            run_state_machine_as_test(machine, settings=settings_of(machine))

    in_throwaway(look)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Path:
    """Return the program of the containers."""
    path: Path = tmp_path_factory.mktemp("program") / "obedient"
    build(path, missing)
    return path


@pytest.mark.usefixtures("needs_root")
def test_containers_of_root_live_beside_each_other(program: Path) -> None:
    play(RootsLives, program)


def test_containers_of_an_ordinary_user_live_beside_each_other(program: Path) -> None:
    play(UsersLives, program)
