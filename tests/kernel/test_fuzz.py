"""Differential testing of real runtimes: two that agree, and one that is broken on purpose."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import strategies as st

from harness import cli, fuzz, outer, strategies
from harness.backends import load
from harness.fuzz import Runtimes
from harness.language import Container
from harness.outcomes import Group
from harness.runtime.config import Config
from harness.shapes import config

pytestmark = pytest.mark.usefixtures("needs_root", "needs_namespaces")
ROOT = Path(__file__).parents[2]
DROPS_NAMES = """#!/bin/sh
for word; do
    [ "$before" = --bundle ] && [ -e "$word/config.json" ] && sed -i 's/"hostname": "[^"]*", //' "$word/config.json"
    before=$word
done
exec {program} "$@"
"""
HANGS = """#!/bin/sh
case " $* " in *' run '*) exec sleep 1000;; esac
"""


@st.composite
def named(draw: st.DrawFn) -> Config:
    """Configs that differ in a name and a mask, and have the variable that runc would add."""
    made = config([Container()], 0, 0)
    made["hostname"] = draw(st.text("abc", min_size=1, max_size=3))
    made["process"]["user"]["umask"] = draw(st.integers(0, 0o77))
    made["process"]["env"].append("HOME=/")
    return made


def program(place: Path, text: str) -> str:
    path = place / "runtime"
    path.write_text(text)
    path.chmod(0o755)
    return f"oci:{path}"


@pytest.fixture
def runc(missing: Callable[[str], NoReturn]) -> str:
    if lack := load("runc").available():
        missing(lack)
    return shutil.which("runc") or "runc"


def test_both_executors_show_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz", "--runtime", "builtin", "--runtime", "builtin:forked", "--examples", "5", "--seed", "1"]
    assert cli.main([*words, "--reports", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "5 configs compared\n" in told
    assert told.endswith("no difference\n")
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_drops_a_field_is_found(
    runc: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = program(place, DROPS_NAMES.format(program=runc))
    monkeypatch.setattr(strategies, "configs", named)
    runtimes = ["--runtime", "builtin", "--runtime", "runc", "--runtime", broken]
    words = ["fuzz", *runtimes, "--examples", "4", "--seed", "1", "--reports", str(place / "found")]
    assert cli.main(words) == 1
    told = capsys.readouterr().out
    assert told.startswith(
        f"seed 1: isoproof fuzz {' '.join(runtimes)} --examples 4 --seed 1\nfound: hostname on {broken}\n"
    )
    assert f"\nhostname on {broken}: in 4 of 4 configs\n" in told
    name = Group("hostname", broken).name
    assert [entry.name for entry in (place / "found").iterdir() if entry.name.startswith("hostname")] == [name]

    smallest = json.loads((place / "found" / name / "config.json").read_text())
    assert (smallest["hostname"], smallest["process"]["user"]["umask"]) == ("a", 0)
    run = subprocess.run(
        [sys.executable, "-m", "harness", "run", place / "found" / name], cwd=ROOT, capture_output=True
    )
    seen = {line["name"]: line["facts"] for line in map(json.loads, run.stdout.splitlines())}
    assert seen["identity"]["hostname"] == "a"

    path = str(place / "found/scenarios" / f"{name}.yaml")
    check = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path, "--reports", str(place / "reports")]
    again = subprocess.run([*check, *runtimes], cwd=ROOT, capture_output=True, text=True)
    assert "inside.identity.hostname == 'a'" in again.stdout
    assert "1 failed, 2 passed" in again.stdout


def test_a_runtime_that_hangs_is_told_and_does_not_end_the_search(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "DEADLINE", 3.0)
    hanging = Runtimes(["builtin", program(place, HANGS)])
    try:
        ((group, difference),) = hanging.compare(config([Container()], 0, 0)).differences.items()
    finally:
        hanging.close()
    assert group.runtime == hanging.names[1]
    assert "it has not ended in N s, and was killed" in group.path
    assert difference.shown["builtin"] == "ran"


def test_a_sandbox_that_gives_no_answer_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def start() -> AbstractContextManager[outer.Outer]:
        started.append(outer.start())
        return started[-1]

    runtimes = Runtimes(["builtin", "builtin:forked"], start)
    wanted = config([Container()], 0, 0)
    try:
        monkeypatch.setattr(fuzz, "DEADLINE", -outer.GRACE)
        lost = runtimes.compare(wanted)
        monkeypatch.undo()
        found = runtimes.compare(wanted | {"hostname": "other"})
    finally:
        runtimes.close()
    assert [group.path.partition(";")[0] for group in lost.differences] == [
        "start failed: run in outer sandbox: it did not answer in time"
    ] * 2
    assert found.differences == {}
    assert len(started) == 3


def test_sigint_ends_it_with_what_was_found(place: Path, runc: str) -> None:
    """In a process of its own, as at a terminal: the sandbox is gone with it."""
    broken = program(place, DROPS_NAMES.format(program=runc))
    words = ["fuzz", "--runtime", "builtin", "--runtime", broken, "--examples", "10000", "--seed", "1"]
    command = [sys.executable, "-m", "harness", *words, "--reports", str(place / "found")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline().startswith("seed 1: ")
        assert process.stdout.readline().startswith("found: ")
        sandboxes = children(process.pid)
        process.send_signal(signal.SIGINT)
        told, complained = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert "configs compared until it was interrupted\n" in told, complained
    assert re.search(r"^\w.* on oci:.*: in \d+ of \d+ configs$", told, re.MULTILINE)
    assert "Traceback" not in complained
    assert process.returncode == 1
    assert sandboxes
    assert not [pid for pid in sandboxes if os.path.exists(f"/proc/{pid}")]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
