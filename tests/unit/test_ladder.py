"""The ladder: what is taken away at each rung, which checks take part, and what is told of what became of them."""

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness import cli, environment, sabotage, shapes
from harness.errors import BadInput, HarnessError
from harness.ladder import record, telling
from harness.ladder.added import added
from harness.ladder.climb import climb, groups
from harness.ladder.record import Climber, Example, Ladder, ToldRung, ToldStep, from_json, to_json
from harness.ladder.rungs import RUNGS, taken_down
from harness.language import Container, Known
from harness.results import Failure
from harness.scenario import Scenario, load

ROOT = Path(__file__).resolve().parents[2]
NAMES = [rung.name for rung in RUNGS]
TOP = len(RUNGS) - 1
UTS = NAMES.index("uts")

SCENARIO = """
title: A container has names of its own
why: Without them it would rename the host.
container: {hostname: cell-1}
checks:
  uts-one:
    claim: The hostname is the one that was asked for
    expect: [inside.identity.hostname == config.hostname]
    sabotage: skip-ns=uts
    severity: leak
  uts-two:
    claim: The hostname is not the host's
    expect: [inside.identity.hostname != "host"]
    sabotage: skip-ns=uts
    severity: escape
  uts-alone:
    claim: It spoils its container
    expect: [inside.identity.hostname == config.hostname]
    sabotage: skip-ns=uts
    severity: leak
    alone: true
  uts-special:
    claim: It has another container
    container: {hostname: cell-2}
    expect: [inside.identity.hostname == config.hostname]
    sabotage: skip-ns=uts
    severity: leak
  limited:
    claim: It has another container, too, and nobody else is about limits
    container: {pids: 7}
    expect: [inside.identity.hostname == config.hostname]
    sabotage: skip-limit=pids
    severity: leak
"""


class Sandbox:
    """Plays the host role: with the UTS namespace goes the name."""

    requests: list[dict[str, Any]]

    def __init__(self, requests: list[dict[str, Any]]) -> None:
        self.requests = requests

    def run(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        self.requests.append(request)
        knobs = " + ".join(request["sabotage"]).split(" + ")
        if "skip-limit=pids" in knobs:
            raise HarnessError("run in outer sandbox: it \x1b[2Jhas ended")
        name = "host" if "skip-ns=uts" in knobs else request["config"]["hostname"]
        inside = {"init": {"facts": {}}, "identity": {"facts": {"hostname": name}}}
        return {"inside": inside, "config": request["config"], "start": {"ran": True}, "milliseconds": {}}


@pytest.fixture
def scenarios(file: Path) -> list[Scenario]:
    file = file.with_name("uts.yaml")
    file.write_text(SCENARIO)
    return [load(file)]


@pytest.fixture
def requests() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def climbed(
    scenarios: list[Scenario], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Ladder]:
    """What climbs with the checks of one scenario, and a host that is none."""
    monkeypatch.setattr("harness.ladder.climb.obstacle", lambda case, known: None)

    @contextlib.contextmanager
    def start() -> Iterator[Sandbox]:
        yield Sandbox(requests)

    return lambda: climb(scenarios, Known(), start)


def small(**outcomes: str) -> Ladder:
    """A ladder with a rung for each letter of the outcomes, which are `+`, `-` or `?` at each."""
    signs: dict[str, record.Outcome] = {"+": "pass", "-": "fail", "?": "error"}
    rungs = [
        ToldRung(f"rung-{at}", f"feature {at}", "chroot(2)", "Something is its own", "Or not.", ["skip-ns=uts"], "", [])
        for at in range(len(next(iter(outcomes.values()))))
    ]
    checks = [
        Climber(name, "uts", "uts.yaml", 4, f"{name} is so", name.partition("_")[0], [signs[sign] for sign in text])
        for name, text in outcomes.items()
    ]
    return Ladder(environment.facts(), "2026-01-01T00:00:00+00:00", 1.0, 1, rungs, checks, [], {})


def test_the_knobs_are_turned_from_the_top_down_and_left_out_one_rung_after_the_other() -> None:
    config = shapes.config([Container(seccomp=True, userns=True)], 0, 0)
    found = taken_down(config)
    assert found[TOP] == ()
    assert found[TOP - 1] == ("skip-seccomp",)
    for lower, upper in itertools.pairwise(found):
        assert lower[: len(upper)] == upper
    assert {"skip-ns=mnt", "skip-ns=user", "keep-caps"} <= set(found[0])
    assert sabotage.sabotaged_config([*found[0]], config)["linux"]["namespaces"] == [{"type": "mount"}]


def test_what_a_container_does_not_have_is_not_taken_away() -> None:
    found = taken_down(shapes.config([Container()], 0, 0))
    assert not {"skip-seccomp", "skip-ns=user", "skip-limit=pids", "skip-landlock=execute"} & {*found[0]}


def test_every_rung_takes_something_away_and_says_what_it_is_for() -> None:
    assert len({*NAMES}) == len(NAMES)
    for rung in RUNGS:
        for knob in rung.knobs:
            sabotage.check_name(knob)
        assert rung.knobs or rung is RUNGS[0]
        told = (ROOT / "scenarios" / f"{rung.name}.yaml").exists()
        assert told != bool(rung.title and rung.why), f"{rung.name} is told twice, or not at all"


def test_every_rung_adds_something_to_the_plan() -> None:
    found = dict(zip(NAMES, added(), strict=True))
    assert all(flags or steps for flags, steps in found.values()), found
    assert [step.name for step in found["uts"][1]] == ["hostname"]
    assert str(found["pid"][0]) == "CLONE_NEWPID"
    assert [step.name for step in found["seccomp"][1]] == ["seccomp"]
    assert "pivot-root" in [step.name for step in found["mount"][1]]
    assert [step.name for step in found["chroot"][1]] == ["open-root", "attach-root", "chroot", "enter-root"]


def test_checks_take_part_that_share_a_container_and_one_for_a_rung_without(scenarios: list[Scenario]) -> None:
    assert [[check.name for check in group] for group in groups(scenarios)] == [["uts-one", "uts-two"], ["limited"]]


def test_bait_is_laid_for_all_of_a_container_unless_a_name_means_two_things(file: Path) -> None:
    text = SCENARIO.replace("severity: leak", "severity: leak\n    canaries: {bait: process}", 1)
    text = text.replace(
        "[inside.identity.hostname == config.hostname]", "[inside.identity.hostname != canary.bait.pid]", 1
    )
    first, second = groups([_scenario(file, text)])[0]
    assert first.canaries == second.canaries != {}
    text = text.replace("severity: escape", "severity: escape\n    canaries: {bait: file}")
    text = text.replace('!= "host"', "!= canary.bait.path")
    first, second = groups([_scenario(file, text)])[0]
    assert first.canaries != second.canaries


def _scenario(file: Path, text: str) -> Scenario:
    file.write_text(text)
    return load(file)


def test_a_check_turns_green_at_the_rung_that_it_is_about(
    climbed: Callable[[], Ladder], requests: list[dict[str, Any]]
) -> None:
    ladder = climbed()
    assert [check.name for check in ladder.turned(UTS)] == ["uts-one", "uts-two"]
    assert [check.name for check in ladder.open(UTS - 1)] == ["uts-two", "uts-one", "limited"]  # an escape first
    assert ladder.open(TOP) == []
    example = ladder.rungs[UTS - 1].example
    assert example
    assert example.check == "uts-two"
    assert example.failures[0].values == [("inside.identity.hostname", "'host'")]
    assert (ladder.rungs[UTS].title, ladder.rungs[UTS].why) == (
        "A container has names of its own",
        "Without them it would rename the host.",
    )
    assert ladder.left_out == ["uts-alone", "uts-special"]
    knobs = [str(request["sabotage"]) for request in requests if "resources" not in request["config"]["linux"]]
    assert len(knobs) == len({*knobs}) < len(RUNGS), "a container that is the same at two rungs is started once"


def test_an_error_is_no_green_and_says_why(climbed: Callable[[], Ladder]) -> None:
    ladder = climbed()
    limited = next(check for check in ladder.checks if check.name == "limited")
    at = NAMES.index("cgroup-limits")
    assert limited.outcomes == ["error"] * at + ["pass"] * (len(RUNGS) - at)
    assert limited.reason == r"run in outer sandbox: it \x1b[2Jhas ended"
    assert ladder.rungs[at - 1].example is None, "what is without a verdict shows nothing"
    assert "without a verdict: limited: run in outer sandbox" in "\n".join(telling.lines(ladder, 200))


def test_a_rung_that_does_nothing_is_noticed(climbed: Callable[[], Ladder], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "uts" not in climbed().idle()
    without = tuple(rung._replace(knobs=()) if rung.name == "uts" else rung for rung in RUNGS)
    monkeypatch.setattr("harness.ladder.rungs.RUNGS", without)
    ladder = climbed()
    assert "uts" in ladder.idle()
    assert "uts turns nothing green" in "\n".join(telling.lines(ladder, 80))


def test_what_cannot_be_proven_here_is_left_out(climbed: Callable[[], Ladder], scenarios: list[Scenario]) -> None:
    first, *others = scenarios[0].checks
    scenarios[0] = replace(scenarios[0], checks=[replace(first, provable={"False": "not on this kernel"}), *others])
    ladder = climbed()
    assert ladder.skipped == {"uts-one": "not on this kernel"}
    assert "uts-one" not in [check.name for check in ladder.checks]


def test_an_interrupted_climb_makes_no_launch_more(
    scenarios: list[Scenario], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    monkeypatch.setattr("harness.ladder.climb.Event", lambda: stop)
    monkeypatch.setattr("harness.ladder.climb.obstacle", lambda case, known: None)
    monkeypatch.setitem(environment.facts(), "cpus", 2)

    class Waiting(Sandbox):
        """One that goes on with the second container when somebody has interrupted the climb."""

        def run(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
            if "resources" in request["config"]["linux"]:
                assert stop.wait(20)
            return super().run(request, deadline)

    @contextlib.contextmanager
    def start() -> Iterator[Sandbox]:
        yield Waiting(requests)

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        climb(scenarios, Known(), start, interrupt)
    assert len([request for request in requests if "resources" in request["config"]["linux"]]) <= 1


def test_a_check_counts_from_where_it_holds_up_to_the_top() -> None:
    ladder = small(leak_first="-++", leak_again="+-+", leak_never="++-", leak_always="+++", leak_unseen="?-+")
    assert [check.turns for check in ladder.checks] == [1, 2, None, 0, 2]
    assert [len(ladder.green(at)) for at in range(3)] == [1, 2, 4]
    assert [check.name for check in ladder.open(2)] == ["leak_never"]
    assert ladder.idle() == []
    assert small(leak_first="-++").idle() == ["rung-0", "rung-2"]


def test_the_worst_that_is_open_comes_first_and_of_those_what_turns_first() -> None:
    ladder = small(hygiene_a="-+++", escape_b="---+", leak_c="-+++", escape_d="--++", escape_never="++--", dos_e="-+++")
    names = [check.name for check in ladder.open(0)]
    assert names == ["escape_d", "escape_b", "escape_never", "leak_c", "dos_e", "hygiene_a"]


def test_a_ladder_is_stored_and_read(tmp_path: Path) -> None:
    ladder = small(leak_a="-+", escape_b="-+")
    assert from_json(to_json(ladder)) == ladder
    with pytest.raises(BadInput, match=r"open .*: No such file or directory; isoproof ladder writes it"):
        record.read(tmp_path / "ladder.json")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda told: told.update(format=0), "f.json: ladder format 0 is not 1; isoproof ladder climbs it again"),
        (lambda told: told.update(format=2), "f.json: ladder format 2 is not 1; a newer isoproof has written it"),
        (lambda told: told.pop("rungs"), "f.json: not a ladder of isoproof: Object missing required field `rungs`"),
        (
            lambda told: told["rungs"].pop(),
            "f.json: not a ladder of isoproof: leak_a was not made at each of its rungs",
        ),
        (lambda told: told["checks"][0].update(severity="bad"), "leak_a was not made at each of its rungs"),
        (
            lambda told: told["environment"].pop("cgroup"),
            "f.json: its environment is not one that isoproof has written",
        ),
        (lambda told: told["rungs"][0].update(example={"check": "x", "failures": []}), "x, which was not made"),
    ],
)
def test_a_file_that_is_no_ladder_is_refused_in_a_line(change: Callable[[Any], object], complaint: str) -> None:
    told = json.loads(to_json(small(leak_a="-+")))
    change(told)
    with pytest.raises(BadInput) as error:
        from_json(json.dumps(told), "f.json")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_text_that_is_cut_off_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^f.json: not a ladder of isoproof"):
        from_json(to_json(small(leak_a="-+"))[:-20], "f.json")


def evident(ladder: Ladder, value: str = "'\x1b[31m'") -> Ladder:
    """The same with a system call and with evidence, both hostile."""
    failure = Failure('inside.name == "a"', "uts.yaml", 5, [("inside.name", value)])
    calls = [f"write({number})" for number in range(20)]
    steps = [ToldStep("hostname", "it begins with the host's: uts_namespaces(7)", calls)]
    first = replace(ladder.rungs[0], steps=steps, flags="CLONE_NEWUTS", example=Example("escape_b", [failure]))
    return replace(ladder, rungs=[first, *ladder.rungs[1:]])


def test_the_ladder_is_told_in_lines_that_fit() -> None:
    ladder = evident(small(leak_a="-+", escape_b="-+", leak_c="++"))
    told = list(telling.lines(ladder, 80))
    assert max(map(len, told)) <= 80
    text = "\n".join(told)
    assert " 0 rung-0            [######..............]   1 hold (+1), open 2, escapes 1" in text
    assert "   Not yet: escape_b is so (escape, escape_b)" in text
    assert " 1 rung-1            [####################]   3 hold (+2), nothing open" in text


def test_a_rung_is_told_in_full() -> None:
    ladder = evident(small(leak_a="-+", escape_b="-+", leak_c="++"))
    told = list(telling.rung(ladder, "rung-0", 80))
    assert max(map(len, told)) <= 80
    text = "\n".join(told)
    for part in (
        "clone3(CLONE_NEWUTS)",
        "hostname: it begins with the host's: uts_namespaces(7)",
        "… and 12 calls more",
        "holds now   leak_c (leak): leak_c is so",
        "not yet     escape_b (escape): escape_b is so",
        'uts.yaml:5: inside.name == "a"',
        r"inside.name = '\x1b[31m'",
        "1 more, leak: uts 1",
    ):
        assert part in text
    assert "nothing: every check holds" in "\n".join(telling.rung(ladder, "rung-1", 80))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").mkdir()
    return tmp_path


def stored(ladder: Ladder) -> None:
    names = [replace(step, name=name) for step, name in zip(ladder.rungs, NAMES, strict=False)]
    Path("reports").mkdir()
    Path("reports/ladder.json").write_text(to_json(replace(ladder, rungs=names)))


@pytest.mark.parametrize(("outcomes", "status"), [("-+", 1), ("+-", 1)])
def test_the_exit_status_says_that_something_is_amiss(project: Path, outcomes: str, status: int) -> None:
    (project / "scenarios/uts.yaml").write_text(SCENARIO)
    stored(small(leak_a=outcomes))
    assert cli.main(["ladder", "chroot"]) == status


def test_a_rung_is_told_from_the_last_climb(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "scenarios/uts.yaml").write_text(SCENARIO)
    stored(small(leak_a="-+", leak_b="++"))
    assert cli.main(["ladder", "mount"]) == 0
    assert capsys.readouterr().out.startswith("1 mount: feature 1, chroot(2)")
    assert cli.main(["ladder", "attic"]) == 2
    assert capsys.readouterr().err.startswith("isoproof: no such rung: attic; there are chroot, mount, ")


def test_an_ordinary_user_is_told_why_not(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "scenarios/uts.yaml").write_text(SCENARIO)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["ladder"]) == 2
    assert "an ordinary user's containers cannot be without one of type user" in capsys.readouterr().err


def test_what_a_container_says_is_no_command_to_a_ci_service(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not where a line is broken before it either."""
    (project / "scenarios/uts.yaml").write_text(SCENARIO)
    stored(evident(small(leak_a="++", escape_b="-+"), f"{'a' * 60} ::error::b ##[error]c"))
    assert cli.main(["ladder", "chroot"]) == 0
    told = capsys.readouterr().out
    assert ":\\x3aerror::b #\\x23[error]c" in told
    assert "##[" not in told
