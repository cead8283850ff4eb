"""Which scenarios `isoproof verify` runs, and by what name they are told."""

import os
from pathlib import Path

import pytest

from harness import cli, places, verify
from harness.errors import BadInput
from harness.scenario import load


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory beside an isoproof that brings one scenario."""
    brought = tmp_path / "site-packages/harness"
    here = tmp_path / "here"
    for folder in (brought / "scenarios", here):
        folder.mkdir(parents=True)
    (brought / "scenarios/uts.yaml").touch()
    monkeypatch.setattr(places, "HOME", brought)
    monkeypatch.chdir(here)
    return here


def asked(*words: str) -> tuple[str, list[str]]:
    """The root directory that pytest is given, and what comes after its settings."""
    command = verify.command(list(words))
    return command[command.index("--rootdir") + 1], command[command.index("-o") + 2 :]


def test_the_scenarios_that_isoproof_brings_are_run_where_none_are_here(here: Path) -> None:
    home = places.HOME
    assert asked() == (str(home), [f"{home}/scenarios"])
    assert asked("-q", "-k", "uts") == (str(home), [f"{home}/scenarios", "-q", "-k", "uts"])
    (here / "scenarios").mkdir()  # somebody else's, with other things in it
    assert asked("scenarios") == (str(home), [f"{home}/scenarios"])


def test_the_scenarios_that_are_here_are_run(here: Path) -> None:
    (here / "scenarios").mkdir()
    (here / "scenarios/own.yaml").touch()
    assert asked("-q") == (str(here), [f"{here}/scenarios", "-q"])


def test_a_check_is_found_by_the_name_that_is_told() -> None:
    file = places.HOME / "scenarios/uts.yaml"
    assert places.told(file) == "scenarios/uts.yaml"
    assert asked("scenarios/uts.yaml::a[runc]", "--runtime", "runc") == (
        str(places.HOME),
        [f"{file}::a[runc]", "--runtime", "runc"],
    )


def test_a_folder_of_any_name_is_run_wherever_it_is(here: Path, tmp_path: Path) -> None:
    for folder in (here / "own", tmp_path / "other"):
        folder.mkdir()
        (folder / "a.yaml").touch()
    assert asked("own/", "--prove") == (str(here), [f"{here}/own", "--prove"])
    assert asked(f"{tmp_path}/other") == (f"{tmp_path}/other", [f"{tmp_path}/other"])
    assert asked("own/a.yaml", "scenarios/uts.yaml")[0] == str(tmp_path)


def test_nothing_leads_out_of_the_scenarios_that_isoproof_brings() -> None:
    (places.HOME / "verify.ini").touch()
    with pytest.raises(BadInput, match=r"open scenarios/\.\./verify\.ini: no such file or directory"):
        verify.command(["scenarios/../verify.ini"])


def test_a_scenario_is_told_by_its_name_and_has_the_shapes_beside_it(here: Path) -> None:
    folder = places.HOME / "scenarios"
    (folder / "shapes").mkdir()
    (folder / "shapes/small.yaml").write_text("title: A small container\ncontainer: {pids: 9}\n")
    (folder / "uts.yaml").write_text(
        "title: A container has a name\n"
        "container: {shape: small}\n"
        "checks: {uts-a: {claim: It is, expect: [inside.identity.hostname == '']"
        ", severity: leak, sabotage: skip-ns=uts}}\n"
    )
    read = load(os.path.relpath(folder / "uts.yaml"))
    assert (read.path, read.checks[0].path) == ("scenarios/uts.yaml", "scenarios/uts.yaml")


def test_help_is_told_without_pytest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", "--help"])
    assert caught.value.code == 0
    assert "isoproof verify [SCENARIO...] [OPTION...]" in capsys.readouterr().out


def test_elsewhere_than_on_linux_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    for words in (["verify"], ["list"], ["run", "bundle"]):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("isoproof: this is darwin: containers are made of Linux; ")
        assert error.count("\n") == 1
