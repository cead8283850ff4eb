"""Which sandbox a launch gets, and when it is started and ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import backends, launches, scenario
from harness.errors import HarnessError
from harness.launches import Case, Launches
from harness.timing import RunClock
from tests.plugin.project import GOOD, check

KNOBS = ["no-sethostname", "skip-ns=uts", "skip-ns=ipc"]


class Sandboxes:
    """Starts sandboxes that write down what becomes of them.

    `broken` are those that give no answer, `missing` those that do not come.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.made = 0
        self.broken: set[int] = set()
        self.missing: set[int] = set()
        self.deadlines: set[float] = set()

    def start(self) -> "Sandbox":
        self.made += 1
        return Sandbox(self, self.made)


class Sandbox:
    def __init__(self, sandboxes: Sandboxes, number: int) -> None:
        self.sandboxes = sandboxes
        self.number = number
        self.note("start")

    def note(self, event: str) -> None:
        self.sandboxes.events.append(f"{event} {self.number}")

    def run(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        self.note("run")
        self.sandboxes.deadlines |= {deadline, *(entry["deadline"] for entry in request["inside"].values())}
        if self.number in self.sandboxes.broken:
            raise HarnessError("run in outer sandbox: it has ended")
        return {"milliseconds": {}}

    def __enter__(self) -> "Sandbox":
        self.note("enter")
        if self.number in self.sandboxes.missing:
            raise HarnessError("run in outer sandbox: it has ended")
        return self

    def __exit__(self, *_: object) -> None:
        self.note("leave")


@pytest.fixture
def sandboxes() -> Sandboxes:
    return Sandboxes()


@pytest.fixture
def cases(tmp_path: Path) -> Callable[[str], list[Case]]:
    """The cases of a file with two checks: of the first, as it should be (""), under each knob; of the second, too."""
    path = tmp_path / "scenarios" / "uts.yaml"
    path.parent.mkdir()
    path.write_text(GOOD.lstrip() + check("uts-other", "cell-2", sabotage=f"[{', '.join(KNOBS)}]"))
    checks = scenario.load(path).checks

    def of(knob: str) -> list[Case]:
        return [Case(each, "builtin", knob) for each in checks]

    return of


def test_on_a_slow_machine_everything_may_take_longer(sandboxes: Sandboxes, cases: Callable[[str], list[Case]]) -> None:
    case = cases("")[0]
    for patience, deadlines in ((1.0, {5.0, 40.0}), (3.0, {15.0, 120.0})):
        sandboxes.deadlines.clear()
        launches = Launches(sandboxes.start, [case], patience=patience)
        launches.answers(case)
        launches.close()
        assert sandboxes.deadlines == deadlines


def test_good_launches_share_a_sandbox(sandboxes: Sandboxes, cases: Callable[[str], list[Case]]) -> None:
    launches = Launches(sandboxes.start, cases(""))
    for case in cases("") * 2:
        launches.answers(case)
    launches.close()
    launches.close()
    assert sandboxes.events == ["start 1", "enter 1", "run 1", "run 1", "leave 1"]


def test_while_a_sabotaged_launch_is_made_the_next_sandbox_is_started(
    sandboxes: Sandboxes, cases: Callable[[str], list[Case]]
) -> None:
    wanted = [cases(knob)[1] for knob in KNOBS]
    launches = Launches(sandboxes.start, wanted)
    for case in wanted:
        launches.answers(case)
    assert sandboxes.events == [
        *("start 1", "enter 1", "start 2", "run 1", "leave 1"),
        *("enter 2", "start 3", "run 2", "leave 2"),
        *("enter 3", "run 3", "leave 3"),
    ]


def test_a_sandbox_that_was_started_for_nobody_is_ended(
    sandboxes: Sandboxes, cases: Callable[[str], list[Case]]
) -> None:
    launches = Launches(sandboxes.start, [cases(knob)[1] for knob in KNOBS])
    launches.answers(cases(KNOBS[0])[1])
    sandboxes.events.clear()
    launches.close()
    assert sandboxes.events == ["enter 2", "leave 2"]


def test_a_sandbox_without_an_answer_is_ended(sandboxes: Sandboxes, cases: Callable[[str], list[Case]]) -> None:
    sandboxes.broken = {1, 2}
    launches = Launches(sandboxes.start, [*cases(""), cases(KNOBS[0])[1]])
    for case in (cases("")[0], cases(KNOBS[0])[1]):
        with pytest.raises(HarnessError):
            launches.answers(case)
    assert sandboxes.events == [
        f"{event} {number}" for number in (1, 2) for event in ("start", "enter", "run", "leave")
    ]
    launches.answers(cases("")[1])
    assert sandboxes.events[-1] == "run 3"


def test_after_a_sandbox_that_does_not_come_none_is_started_for_nobody(
    sandboxes: Sandboxes, cases: Callable[[str], list[Case]]
) -> None:
    sandboxes.missing = {1}
    wanted = [cases(knob)[1] for knob in KNOBS[:2]]
    launches = Launches(sandboxes.start, wanted)
    with pytest.raises(HarnessError):
        launches.answers(wanted[0])
    launches.answers(wanted[1])
    assert sandboxes.events == ["start 1", "enter 1", "start 2", "enter 2", "run 2", "leave 2"]


def test_time_is_counted_for_whoever_takes_it(sandboxes: Sandboxes, cases: Callable[[str], list[Case]]) -> None:
    """The sandbox that good launches share belongs to the session, that of a proof to the proof."""
    clock = RunClock()
    launches = Launches(sandboxes.start, [*cases(""), *cases(KNOBS[0])], clock)
    with clock.item("uts", False):
        launches.answers(cases("")[0])
    with clock.item("uts", True):
        launches.answers(cases(KNOBS[0])[0])
    timing = clock.timing()
    assert "sandboxes" in timing.session
    assert timing.checks["uts"].keys() == {"exchange", "rest"}
    assert timing.proofs["uts"].keys() == {"sandboxes", "exchange", "rest"}


def test_what_is_asked_together_is_answered_apart_from_all_else(
    sandboxes: Sandboxes, cases: Callable[[str], list[Case]]
) -> None:
    """Two knobs on both checks, which have containers of their own: four launches, each time they are asked for."""
    sandboxes.broken = {2}
    launches = Launches(sandboxes.start, [])
    wanted = [*cases(KNOBS[0]), *cases(KNOBS[1])]
    told = list(launches.together(wanted))
    assert [case for case, _ in told] == wanted
    assert [isinstance(answers, HarnessError) for _, answers in told] == [False, True, False, False]
    assert sandboxes.made == 4
    assert not any(isinstance(answers, HarnessError) for _, answers in launches.together(wanted))
    assert sandboxes.made == 8


def test_findings_are_of_a_runtime_with_its_options_and_skips_of_it_with_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "version", lambda runtime: "1.1")
    (tmp_path / "runc.yaml").write_text(
        "fails:\n  a: {reason: a}\nskips:\n  b: {reason: b}\n  c: {reason: c}\n  d: {reason: d, versions: '>=2'}\n"
        "  f: {reason: f, shapes: [own]}\n"
    )
    (tmp_path / "runc-as-shipped.yaml").write_text(
        "fails:\n  c: {reason: tried}\n  f: {reason: tried, shapes: [userns]}\nskips:\n  e: {reason: e}\n"
    )

    def of(runtime: str) -> tuple[list[str], list[str]]:
        known = launches.known(tmp_path, runtime)
        return list(known.fails), list(known.skips)

    assert of("runc") == of("runc:/opt/runc") == (["a"], ["b", "c", "f"])
    assert of("runc:as-shipped") == of("runc:as-shipped,/opt/runc") == (["c", "f"], ["b", "f", "e"])
    assert of("builtin") == ([], [])
