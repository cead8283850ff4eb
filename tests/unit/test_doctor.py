"""What the doctor says: how many checks each runtime can be asked for, what is in the way, and its exit status."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import backends, cli, doctor, outer
from harness.backends import Backend, Exit, Streams
from harness.doctor import Census, Examined
from harness.errors import BadInput, HarnessError

SCENARIO = """
title: A container has names of its own
shapes: [small]
checks:
  uts-name:
    claim: The hostname is the one that was asked for
    expect: [inside.identity.hostname == config.hostname]
    sabotage: no-sethostname
    severity: leak
  uts-init: {container: {init: true}, shapes: [], CHECK}
  uts-known: {shapes: [], CHECK}
  uts-new: {shapes: [], requires: {"environment.kernel >= [99, 0]": a kernel of the future}, CHECK}
"""
CHECK = "claim: a, expect: [inside.identity.hostname == config.hostname], sabotage: no-sethostname, severity: leak"
KNOWN = 'skips: {uts-known: {reason: it never could, versions: "<2"}}\n'
NAMES = ["builtin", "null", "runc"]


class Pretended(Backend):
    """A runtime that is there or not, and cannot be asked for some things."""

    def __init__(self, missing: str | None = None, lacking: dict[str, list[str]] | None = None) -> None:
        self.missing = missing
        self.lacking = lacking or {}

    def available(self) -> str | None:
        return self.missing

    def version(self) -> str:
        return "1.5"

    def unsupported(self, config: dict[str, Any]) -> list[str]:
        wants_init = "isoproof.init" in config.get("annotations", {})
        return self.lacking.get("init" if wants_init else "other", [])

    def run(self, config: dict[str, Any], bundle: Path, io: Streams, deadline: float) -> Exit:
        raise NotImplementedError


@pytest.fixture
def runtimes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Backend]:
    """The runtimes that there are, instead of the real ones."""
    pretended: dict[str, Backend] = {
        "builtin": Pretended(),
        "null": Pretended("it does nothing"),
        "runc": Pretended(None, {"init": ["a PID 1 that reaps", "annotations"]}),
    }
    monkeypatch.setattr(backends, "load", lambda text: pretended[text.partition(":")[0]])
    monkeypatch.setattr(backends, "names", lambda: NAMES)
    backends.version.cache_clear()
    backends.here.cache_clear()
    return pretended


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(outer, "start", contextlib.nullcontext)
    for folder in ("shapes", "known"):
        (tmp_path / "scenarios" / folder).mkdir(parents=True)
    (tmp_path / "scenarios/uts.yaml").write_text(SCENARIO.replace("CHECK", CHECK))
    (tmp_path / "scenarios/shapes/small.yaml").write_text("title: A small container\ncontainer: {pids: 9}\n")
    (tmp_path / "scenarios/known/runc.yaml").write_text(KNOWN)
    return tmp_path


def census(*names: str) -> Census:
    return doctor.census(list(names), cli.scenarios())


def test_checks_are_counted_by_runtime_area_and_obstacle(runtimes: dict[str, Backend]) -> None:
    found = census(*NAMES)
    assert found.checks == {"uts": 5}  # one of the four is made in a shape, too
    assert found.unmet == {"a kernel of the future": 1}
    builtin, null, runc = found.runtimes
    assert (builtin.askable, builtin.obstacles) == ({"uts": 4}, {})
    assert (null.missing, null.version, null.askable) == ("it does nothing", "", {})
    assert (runc.version, runc.askable) == ("1.5", {"uts": 2})
    assert runc.obstacles == {"a PID 1 that reaps": 1, "annotations": 1, "it never could": 1}


def test_what_is_known_of_other_versions_is_in_nobodys_way(runtimes: dict[str, Backend], project: Path) -> None:
    (project / "scenarios/known/runc.yaml").write_text(KNOWN.replace("<2", "<1.5"))
    [runc] = census("runc").runtimes
    assert (runc.askable, "it never could" in runc.obstacles) == ({"uts": 3}, False)


def test_what_is_nothing_without_an_option_is_not_here(
    runtimes: dict[str, Backend], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(text: str) -> Backend:
        if text == "null":
            raise BadInput("runtime null: it needs a path")
        return runtimes[text]

    monkeypatch.setattr(backends, "load", load)
    assert [(each.name, each.missing) for each in census(*NAMES).runtimes if each.missing] == [
        ("null", "runtime null: it needs a path")
    ]


def test_a_runtime_with_options_lacks_what_it_lacks_without(runtimes: dict[str, Backend]) -> None:
    [shipped] = census("runc:as-shipped").runtimes
    assert (shipped.name, shipped.askable, shipped.obstacles["it never could"]) == ("runc:as-shipped", {"uts": 2}, 1)


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def test_the_doctor_tells_all_of_it(runtimes: dict[str, Backend], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    lines = told(capsys)
    labels = [line.split("  ")[0] for line in lines if line[:1] not in (" ", "")]
    assert labels[:5] == ["machine", "capabilities", "namespaces", "packages", "outer sandbox"]
    assert "  null         not here: it does nothing (as-shipped)" in lines
    assert "  runc         1.5 (/PATH, as-shipped)" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines if " of 5" in line}
    assert rows["uts"] == rows["all"] == ["4", "of", "5", "2", "of", "5"]
    assert lines[-6:] == [
        "  on this machine",
        "      1  a kernel of the future",
        "  with runc",
        "      1  a PID 1 that reaps",
        "      1  annotations",
        "      1  it never could",
    ]


def test_only_what_is_named_is_examined(runtimes: dict[str, Backend], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "runc:as-shipped"]) == 0
    lines = told(capsys)
    assert "  runc:as-shipped" in lines
    assert not any("does nothing" in line for line in lines)


@pytest.mark.parametrize(
    ("named", "missing", "status"),
    [([], None, 0), ([], "runc", 0), ([], "builtin", 1), (["runc"], "builtin", 0), (["null"], None, 1)],
)
def test_the_status_tells_whether_what_was_named_is_here(
    runtimes: dict[str, Backend], named: list[str], missing: str | None, status: int
) -> None:
    if missing:
        runtimes[missing] = Pretended("it is not installed")
    assert cli.main(["doctor", *named]) == status


def test_without_an_outer_sandbox_nothing_can_be_run(
    monkeypatch: pytest.MonkeyPatch, runtimes: dict[str, Backend], capsys: pytest.CaptureFixture[str]
) -> None:
    def start() -> Any:
        raise HarnessError("clone: EPERM (Operation not permitted); likely because …")

    monkeypatch.setattr(outer, "start", start)
    assert cli.main(["doctor", "runc"]) == 1
    assert any(line.startswith("outer sandbox  clone: EPERM") for line in told(capsys))


def test_elsewhere_the_checks_are_counted_that_isoproof_brings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtimes: dict[str, Backend], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli.main(["doctor"]) == 0
    assert any(line.split()[:1] == ["uts"] for line in told(capsys))


@pytest.mark.parametrize("name", ["rnuc", "runc:rootles", "builtin:/bin/true"])
def test_a_runtime_that_there_is_not_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("isoproof: ")
    assert error.count("\n") == 1


def test_all_fits_in_80_columns() -> None:
    names = [f"{name}{options}" for name in ("containerd", "bubblewrap") for options in ("", ":as-shipped", ":a=b,c")]
    examined = [
        Examined(name, "1.2", "", ["as-shipped"], Counter({"uts": 3}), Counter({"word " * 40: 2, "x" * 200: 100}))
        for name in names
    ]
    missing = Examined("docker", "", "its daemon does not answer " * 9, ["rootless"] * 20, Counter(), Counter())
    found = Census(Counter({"uts": 3, "a" * 70: 1}), Counter({"b " * 70: 1}), [*examined, missing])
    lines = list(doctor.lines(found, "started", 80))
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("  uts") for line in lines) == 2


def test_of_many_runtimes_only_the_greatest_obstacles_are_told() -> None:
    obstacles = Counter({f"thing {number}": number for number in range(1, 9)})
    some = [Examined(f"runtime{number}", "1", "", [], Counter(), obstacles) for number in range(6)]
    told = list(doctor.lines(Census(Counter({"uts": 9}), Counter(), some), "", 80))
    assert told[-7:] == [
        "  with runtime5",
        *(f"      {number}  thing {number}" for number in (8, 7, 6, 5, 4)),
        "         and 3 more things: isoproof doctor runtime5",
    ]
    few = list(doctor.lines(Census(Counter({"uts": 9}), Counter(), some[:5]), "", 80))
    assert few[-1] == "      1  thing 1"


def test_a_label_that_is_too_long_has_a_line_of_its_own() -> None:
    assert list(doctor.labelled("short", "a b c", 20)) == [f"{'short':<15}a b c"]
    assert list(doctor.labelled("as long as this", "a b c", 18)) == [
        "as long as this",
        " " * 15 + "a b",
        " " * 15 + "c",
    ]


def test_runtimes_tell_their_options() -> None:
    assert backends.options_of("runc") == ["/PATH", "as-shipped"]
    assert backends.options_of("null") == ["as-shipped"]


def test_those_that_are_here_are_asked_and_taken_as_shipped(
    monkeypatch: pytest.MonkeyPatch, runtimes: dict[str, Backend]
) -> None:
    monkeypatch.setattr(backends, "names", lambda: ["builtin", "crun", "lxc", "null", "runc"])
    runtimes |= {"crun": Pretended(), "lxc": Pretended("it is not installed")}
    assert backends.here() == ["builtin", "crun", "crun:as-shipped", "runc", "runc:as-shipped"]


def test_an_option_stays_in_one_piece() -> None:
    assert list(doctor.labelled("a", "bcd as-shipped", 27)) == [f"{'a':<15}bcd", " " * 15 + "as-shipped"]
