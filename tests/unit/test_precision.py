"""What is recorded of knobs: how it is compared, how it is renewed, and on which checks a knob is tried."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import precision, scenario
from harness.errors import BadInput, HarnessError
from harness.language import Known, Skipped
from harness.launches import Answer, Case, Launches
from harness.precision import Expected
from harness.results import Reach
from harness.scenario import Scenario
from tests.plugin.project import GOOD, check

KNOB = "no-sethostname"


@pytest.fixture
def scenarios(tmp_path: Path) -> list[Scenario]:
    """An area with a check that names the knob and one with another container; and an area that does not name it."""
    folder = tmp_path / "scenarios"
    folder.mkdir()
    (folder / "uts.yaml").write_text(GOOD.lstrip() + check("uts-two", "cell-2", sabotage="skip-ns=uts"))
    shared = [check(f"net-{name}", sabotage="skip-ns=net") for name in ("a", "b")]
    alone = check("net-alone", sabotage="skip-ns=net", alone="true")
    first = GOOD.lstrip().replace("uts-name", "net-first").replace(KNOB, "skip-ns=net") + check("net-c", "cell-3")
    (folder / "net.yaml").write_text(
        (first.replace("hostname: cell-1", "hostname: cell-0", 1) + "".join(shared) + alone).replace(KNOB, "lo-down")
    )
    return [scenario.load(path) for path in (folder / "net.yaml", folder / "uts.yaml")]


class Answering(Launches):
    """Launches of which only the answers are wanted, by the names of checks."""

    def __init__(self, answers: dict[str, Answer | HarnessError]) -> None:
        self.given = answers
        self.asked: list[str] = []

    def together(self, cases: list[Case]) -> Iterator[tuple[Case, tuple[Answer, ...] | HarnessError]]:
        for case in cases:
            self.asked.append(case.check.name)
            answer = self.given.get(case.check.name, answered("outer"))
            yield case, answer if isinstance(answer, HarnessError) else (answer,)


def answered(hostname: str, **changes: Any) -> Answer:
    facts = {"facts": {"hostname": hostname}}
    answer = {
        "inside": {"init": facts, "identity": facts},
        "host": {"identity": {"facts": {"hostname": "outer"}}},
        "config": {"hostname": "cell"},
        "start": {"ran": True, "refused": False},
    }
    return answer | changes


def test_a_knob_is_tried_on_its_area_and_on_the_container_that_most_share_in_others(scenarios: list[Scenario]) -> None:
    launches = Answering({})
    precision.reach(KNOB, scenarios, Known(), launches)
    assert launches.asked == ["net-first", "net-a", "net-b", "uts-name", "uts-two"]


def test_a_knob_is_not_tried_where_the_config_shows_that_it_does_not_fit(scenarios: list[Scenario]) -> None:
    launches = Answering({})
    seen = precision.reach("skip-limit=pids", scenarios, Known(), launches)
    assert (launches.asked, seen) == ([], Reach("skip-limit=pids", []))


def test_outcomes_are_told_apart(scenarios: list[Scenario]) -> None:
    launches = Answering(
        {
            "uts-two": answered("cell"),
            "net-first": HarnessError("it has ended"),
            "net-a": answered("cell", inside={}),
            "net-b": answered("cell", unfit="it finds nothing"),
        }
    )
    known = Known(skips={"uts-name": Skipped(reason="not here")})
    seen = precision.reach(KNOB, scenarios, known, launches)
    assert seen == Reach(
        KNOB, ["uts-name"], red=[], error=["net-first", "net-a"], green=["uts-two"], skipped=["uts-name"]
    )


def test_a_container_that_is_refused_says_nothing(scenarios: list[Scenario]) -> None:
    refused = answered("cell", inside={}, start={"ran": False, "refused": True})
    seen = precision.reach(KNOB, scenarios, Known(), Answering({"uts-two": refused}))
    assert seen.red == ["net-first", "net-a", "net-b", "uts-name"]
    assert not [*seen.error, *seen.green, *seen.skipped]


def test_what_is_otherwise_than_recorded_is_said_of_each_check() -> None:
    record = {"a": Expected(red=["r", "r-no-more", "not-made"], error=["e"], sometimes=["s", "t"])}
    seen = Reach("a", [], red=["r", "s", "new"], error=["e", "lost"], green=["r-no-more", "t", "g"])
    assert precision.deviations(seen, record) == [
        "new: red, but tests/proof/expected.json says green",
        "lost: error, but tests/proof/expected.json says green",
        "r-no-more: green, but tests/proof/expected.json says red",
    ]
    assert precision.deviations(Reach("b", []), record) == ["nothing is recorded for b"]


def test_a_renewed_record_keeps_what_was_not_tried_and_drops_what_is_gone(scenarios: list[Scenario]) -> None:
    record = {
        "here": {
            KNOB: Expected(red=["uts-two", "uts-gone", "net-a"], error=["net-b"], sometimes=["net-c"]),
            "gone": Expected(red=["uts-name"]),
            "skip-ns=uts": Expected(red=["uts-two"]),
        },
        "elsewhere": {KNOB: Expected(red=["uts-name", "uts-gone"])},
    }
    seen = Reach(KNOB, ["uts-name"], red=["uts-name", "net-c"], green=["net-a"], skipped=["uts-two"])
    renewed = precision.renewed(record, "here", [seen], scenarios)
    assert renewed == {
        "elsewhere": {KNOB: Expected(red=["uts-name"])},
        "here": {
            KNOB: Expected(red=["uts-name", "uts-two"], sometimes=["net-c"]),
            "skip-ns=uts": Expected(red=["uts-two"]),
        },
    }


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "expected.json"
    assert precision.read(path) == {}
    record = {"here": {"a": Expected(red=["b", "c"]), "d": Expected(sometimes=["e"])}}
    precision.write(path, record)
    assert precision.read(path) == record
    assert "error" not in path.read_text()


@pytest.mark.parametrize("text", ["", "[]", '{"here": {"a": {"rde": []}}}'])
def test_a_record_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "expected.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=f"^read {re.escape(str(path))}: .*--precision=record$"):
        precision.read(path)


def kinds(facts: Iterable[tuple[bool, int]]) -> list[str]:
    return [precision.machine({"rootless": rootless, "cgroup": {"memory": version}}) for rootless, version in facts]


def test_kinds_of_machines_differ_by_user_and_cgroup_version() -> None:
    assert kinds([(False, 1), (False, 2), (True, 2)]) == [
        "root, cgroup version 1",
        "root, cgroup version 2",
        "an ordinary user, cgroup version 2",
    ]
