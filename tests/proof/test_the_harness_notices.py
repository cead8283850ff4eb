"""What `--prove` asks of a check, asked of the harness: would it notice? In a real sandbox, with real containers."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import environment, host, scenario, verdict
from harness.errors import HarnessError
from harness.launches import Case, Launches
from harness.outer import Outer, start
from harness.runtime.spec import example
from harness.scenario import Check

pytestmark = pytest.mark.usefixtures("needs_namespaces")
UTS = Path(__file__).parent.parent.parent / "scenarios/uts.yaml"


@pytest.fixture(scope="module")
def outer() -> Iterator[Outer]:
    with start() as sandbox:
        yield sandbox


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    monkeypatch.chdir(UTS.parent.parent)
    return scenario.load("scenarios/uts.yaml").checks


def answer(outer: Outer, check: Check, **changes: Any) -> dict[str, Any]:
    """Return what the host role answers for a check, with parts of the request changed."""
    request = Case(check, "builtin").request(check.container)
    sides = {"inside": check.inside, "host": check.host, "host_after": check.host_after}
    return outer.run(request | sides | changes, 20.0)


def test_every_check_passes_as_it_should_be(outer: Outer, checks: list[Check]) -> None:
    for check in checks:
        assert verdict.judge(check, answer(outer, check), environment.facts()).outcome == "pass", check.name


def test_no_check_passes_on_the_runtime_that_does_nothing(outer: Outer, checks: list[Check]) -> None:
    for check in checks:
        judged = verdict.judge(check, answer(outer, check, runtime="null"), environment.facts())
        assert judged.outcome == "error", check.name


def test_a_sabotage_without_effect_proves_nothing(outer: Outer, checks: list[Check]) -> None:
    for check in checks:
        assert verdict.prove(check, answer(outer, check)).outcome == "unproven", check.name


@pytest.mark.parametrize(
    ("knob", "complaint"),
    [
        ("console-follow-symlink", "does not fit this container: StopIteration"),  # in the plan: there is no terminal
        ("skip-seccomp", "does not fit this container: KeyError"),  # in the config
    ],
)
def test_a_sabotage_that_cannot_be_done_is_no_refusal_and_proves_nothing(
    outer: Outer, checks: list[Check], knob: str, complaint: str
) -> None:
    unfit = answer(outer, checks[0], sabotage=[knob])
    assert not unfit["start"]["refused"]
    assert unfit["unfit"].startswith(f"the sabotage {knob} {complaint}")
    assert verdict.judge(checks[0], unfit, environment.facts()).outcome == "error"
    assert verdict.prove(checks[0], unfit) == ("error", unfit["unfit"])


@pytest.mark.parametrize("knobs", [[], ["skip-ns=uts"]])
def test_a_launcher_that_crashes_when_all_has_gone_well_is_an_error(
    checks: list[Check], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knobs: list[str]
) -> None:
    """Unless it has been sabotaged: then it is the red that was wanted."""

    class Crashing:
        @staticmethod
        def run(*_arguments: object) -> None:
            raise RuntimeError("after the end")

    monkeypatch.setattr(host, "served", lambda _name: Crashing)
    request = Case(checks[0], "builtin").request(checks[0].container)
    crashed = host.Run(request | {"inside": {}, "runtime": "runc", "sabotage": knobs, "deadline": 5})
    asked = example(0, 0)
    assert crashed._launch(asked).refused == ""
    assert "RuntimeError: after the end" in crashed.stderr
    assert crashed.crashed == (not knobs)


def test_an_answer_that_says_so_is_an_error(outer: Outer, checks: list[Check]) -> None:
    crashed = answer(outer, checks[0]) | {"error": "RuntimeError: after the end"}
    assert crashed["start"]["ran"]
    assert verdict.judge(checks[0], crashed, environment.facts()).outcome == "error"


def test_a_container_that_does_not_start_proves_nothing(outer: Outer, checks: list[Check]) -> None:
    check = checks[0]
    broken = Case(check, "builtin").request(check.container)["config"] | {"hostname": "x" * 65}
    judged = answer(outer, check, config=broken)
    assert judged["start"]["refused"]
    assert "longer than the 64 bytes" in judged["start"]["message"]
    assert verdict.prove(check, judged).outcome == "error"


@pytest.mark.parametrize(
    ("observe", "complaint"),
    [
        ({"probe": "burn", "args": {"seconds": 30}, "deadline": 0.2}, "hung: no report after 0.2 s"),
        ({"probe": "no_such_probe"}, "FileNotFoundError"),
        ({"probe": "identity", "args": {"unexpected": 1}}, "TypeError"),
    ],
)
def test_a_probe_that_fails_is_an_error_and_never_a_fact(
    outer: Outer, checks: list[Check], observe: dict[str, Any], complaint: str
) -> None:
    check = checks[0]
    seen = answer(outer, check, inside={"broken": observe})["inside"]
    assert "facts" in seen["init"]
    assert complaint in seen["broken"]["error"]


def test_a_sandbox_that_is_gone_is_an_error_with_a_sentence(checks: list[Check]) -> None:
    with start() as sandbox:
        signal.pidfd_send_signal(sandbox._launcher, signal.SIGTERM)
        with pytest.raises(HarnessError, match="run in outer sandbox: it has ended"):
            answer(sandbox, checks[0])


def test_nothing_of_a_run_stays_in_the_sandbox(outer: Outer, checks: list[Check]) -> None:
    """The mount table of the sandbox, as the next run's host sees it, is the same after a run as before."""
    table = {"probe": "mounts"}
    first = answer(outer, checks[0], host={"mounts": table}, host_after={"mounts": table})
    second = answer(outer, checks[0], host={"mounts": table}, host_after={"mounts": table})

    def points(seen: dict[str, Any], side: str) -> list[str]:
        return [point for point in seen[side]["mounts"]["facts"]["points"] if "run-" not in point]

    assert points(first, "host") == points(second, "host") == points(second, "host_after")


def test_an_answer_tells_where_its_time_went(outer: Outer, checks: list[Check]) -> None:
    """A probe that takes its time, and a host that acts meanwhile, which is counted for the host."""
    burning = {"probe": "burn", "args": {"seconds": 0.2}, "deadline": 5.0}
    acting = {"probe": "burn", "args": {"seconds": 0.3}, "deadline": 5.0, "during": "burn"}
    begun = time.monotonic()
    seen = answer(outer, checks[0], inside={"burn": burning}, host={"act": acting}, host_after={})
    elapsed = (time.monotonic() - begun) * 1000
    spent = seen["milliseconds"]
    assert spent.keys() == {"prepare", "observe", "start", "probes", "end"}
    assert sum(spent.values()) <= elapsed
    inside, host = (
        seen[side][name]["facts"]["wall_seconds"] * 1000 for side, name in (("inside", "burn"), ("host", "act"))
    )
    assert spent["start"] + spent["probes"] >= inside  # a busy host hears late that it has begun
    assert spent["observe"] >= host
    assert elapsed >= inside + host + spent["start"] + spent["end"]


def test_launches_keep_their_own_sandbox_for_each_sabotage(checks: list[Check]) -> None:
    """Good runs share one sandbox; a sabotaged one has its own, so that the host's name differs."""
    cases = [Case(checks[0], "builtin"), Case(checks[0], "builtin", checks[0].sabotages[0])]
    launches = Launches(start, cases)
    try:
        boots = {launches.answers(case)[0]["host"]["namespaces"]["facts"]["uts"] for case in cases}
    finally:
        launches.close()
    assert len(boots) == 2
