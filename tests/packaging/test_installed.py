"""The installed wheel: `isoproof` without a checkout, wherever its user is."""

import importlib.metadata
import re
import shlex
from pathlib import Path

import pytest

from harness.results import Results, from_json
from tests.packaging.conftest import Installed

OWN = """\
title: A container has a name of its own
container: {hostname: mine}
checks:
  own-name:
    claim: The hostname is the one that was asked for
    expect: [inside.identity.hostname == config.hostname]
    sabotage: no-sethostname
    severity: leak
"""
BROKEN = "raise SystemExit('a module of the working directory was loaded')\n"


def results(installed: Installed, folder: str = "reports") -> Results:
    return from_json((installed.user / folder / "isolation.json").read_bytes())


def package_files(installed: Installed) -> dict[Path, int]:
    """Every file of the package with its age, but what Python and pytest have compiled."""
    found = (path for path in installed.package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path: path.stat().st_mtime_ns for path in found}


def test_nothing_but_the_harness_can_be_imported(installed: Installed) -> None:
    library = installed.package.parent
    (ours,) = importlib.metadata.distributions(name="isoproof", path=[str(library)])
    tops = {file.parts[0] for file in ours.files or [] if ".." not in file.parts}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"harness"}


@pytest.mark.usefixtures("needs_namespaces")
def test_verify_in_an_empty_folder(installed: Installed) -> None:
    before = package_files(installed)
    done = installed.run("verify", "scenarios/uts.yaml", "scenarios/pid.yaml", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(installed)
    assert {result.path for result in found.results} == {"scenarios/uts.yaml", "scenarios/pid.yaml"}
    assert {result.outcome for result in found.results} <= {"pass", "skip"}
    assert set(found.catalogue) == {"uts", "pid"}
    assert sorted(path.name for path in installed.user.iterdir()) == [".pytest_cache", "reports"]
    assert package_files(installed) == before


@pytest.mark.usefixtures("needs_namespaces")
def test_a_failure_names_the_command_that_shows_it_again(installed: Installed) -> None:
    done = installed.run("verify", "scenarios/uts.yaml", "--runtime", "null", "-k", "ns-differs and not null-")
    assert done.returncode == 1, done.stdout + done.stderr
    (again,) = re.findall(r"  again: isoproof (.*)", done.stdout)
    assert again == "verify 'scenarios/uts.yaml::uts-ns-differs[null]' --runtime null"
    told = installed.run(*shlex.split(again))
    assert told.returncode == 1
    assert f"  again: isoproof {again}" in told.stdout
    report = installed.run("report")
    assert report.returncode == 1
    assert f"  again: isoproof {again}" in report.stdout


@pytest.mark.usefixtures("needs_namespaces")
@pytest.mark.parametrize(
    ("words", "path", "check"),
    [((), "scenarios/uts.yaml", "uts-ns-differs"), (("own/", "--prove"), "own/name.yaml", "own-name")],
    ids=["brought", "own"],
)
def test_what_configures_pytest_in_the_working_directory_does_not_count(
    installed: Installed, words: tuple[str, ...], path: str, check: str
) -> None:
    for name in ("own", "scenarios"):
        (installed.user / name).mkdir()
    (installed.user / "own/name.yaml").write_text(OWN)
    wrong = "addopts = --no-such-option\n"
    for name, text in {
        "pytest.ini": f"[pytest]\n{wrong}",
        "tox.ini": f"[pytest]\n{wrong}",
        "setup.cfg": f"[tool:pytest]\n{wrong}",
        "pyproject.toml": "[tool.pytest]\naddopts = ['--no-such-option']\n",
        **dict.fromkeys(["conftest.py", "own/conftest.py", "scenarios/conftest.py"], BROKEN),
        **dict.fromkeys(["pytest.py", "json.py", "harness.py", "__init__.py", "test_mine.py", "own/test_a.py"], BROKEN),
    }.items():
        (installed.user / name).write_text(text)
    done = installed.run("verify", *words, PYTEST_ADDOPTS=f"-q -k {check} --reports out")
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(installed, "out").results
    assert {(result.path, result.check) for result in found} == {(path, check)}
    assert "pass" in {result.outcome for result in found}  # an ordinary user skips some of its shapes
    assert {result.standing() for result in found} == {"proven" if "--prove" in words else None}
    assert not (installed.user / "reports").exists()


def test_other_verbs_know_the_scenarios(installed: Installed) -> None:
    assert "uts-ns-differs" in installed.run("list").stdout
    assert "hardened" in installed.run("list", "shapes").stdout
    told = installed.run("explain", "uts-ns-differs").stdout
    assert "\nscenarios/uts.yaml:" in told
    assert "isoproof verify 'scenarios/uts.yaml::uts-ns-differs[builtin]'" in told
    assert installed.run("lint").stdout.endswith(" checks without mistakes\n")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (
            ["nowhere/"],
            2,
            "isoproof: open nowhere/: no such file or directory; name a scenario file or a folder of them",
        ),
        (["."], 2, "isoproof: .: no scenario files (*.yaml) in it"),
        (["--no-such-option"], 4, "unrecognized arguments: --no-such-option"),
        (
            ["-q", "scenarios"],
            4,
            "ERROR: scenarios: scenarios are named before all options: isoproof verify scenarios …",
        ),
        (["scenarios/uts.yaml", "--runtime", "rnuc"], 4, "ERROR: --runtime rnuc: unknown runtime 'rnuc'"),
    ],
)
def test_bad_input_says_what_is_wrong(installed: Installed, arguments: list[str], status: int, sentence: str) -> None:
    done = installed.run("verify", *arguments)
    assert (done.returncode, sentence in done.stderr, "Traceback" in done.stderr) == (status, True, False), done.stderr


def test_the_help_names_options_that_pytest_takes(installed: Installed) -> None:
    named = set(re.findall(r"^  (-[-\w]+)", installed.run("verify", "--help").stdout, re.MULTILINE))
    taken = set(re.findall(r"(?<![\w-])--?[\w-]+", installed.run("verify", "-q", "--help").stdout))
    assert {"--runtime", "--prove", "-k"} <= named
    assert named - taken <= {"-n"}  # of pytest-xdist, which is not there
