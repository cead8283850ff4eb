"""What a person sees who sits before a terminal: colours by pytest's rules, and a live line that is in nobody's way."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.project import GOOD, Project, check

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
LIVE = re.compile(r"\x1bD\x1bM\x1b7\x1b\[B\r\x1b\[K\x1b\[\?7l(.*?)\x1b\[\?7h\x1b8")
AWAY = "\x1b7\x1b[B\r\x1b[K\x1b8"


def run(project: Project, *command: str, terminal: bool = True, **variables: Any) -> str:
    """What a command of ours prints on a terminal of 90 columns, or into a pipe."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "90", **variables}
    theirs: int
    mine, theirs = pty.openpty() if terminal else os.pipe()
    words = [sys.executable, "-m", *command]
    with subprocess.Popen(
        words, cwd=project.path, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.STDOUT
    ):
        os.close(theirs)
        written = b""
        try:
            while data := os.read(mine, 65536):
                written += data
        except OSError:  # EIO: nobody has the terminal open any more
            pass
    os.close(mine)
    return written.decode().replace("\r\n", "\n")


@pytest.fixture
def scenarios(project: Project) -> Project:
    """Two files, in which three checks hold and one does not."""
    project.write("pyproject.toml", (project.path / "pyproject.toml").read_text().replace(', "--color=no"', ""))
    project.write("scenarios/net.yaml", GOOD.replace("uts-name", "net-name") + check("net-shared", "shared"))
    project.write("scenarios/uts.yaml", GOOD + check("uts-two"))
    return project


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_the_live_line_tells_what_goes_on_and_leaves_the_picture_to_pytest(
    scenarios: Project, workers: tuple[str, ...]
) -> None:
    scenarios.write("a_test.py", "def test_a(): assert False")  # which is no check
    with_it = run(scenarios, "pytest", *workers)
    told = list(dict.fromkeys(text.partition(" s  ")[2] for text in LIVE.findall(with_it)))
    assert told == [
        "0 of 4 made, now net-name[builtin]",
        "1 of 4 made, now net-shared[builtin]",
        "2 of 4 made, 1 failed, now uts-name[builtin]",
        "3 of 4 made, 1 failed, now uts-two[builtin]",
    ]
    # Nothing is written while it is there, and without it there is what pytest writes.
    pieces = LIVE.split(with_it)
    assert all(piece == "" or piece.startswith(AWAY) for piece in pieces[2::2])
    picture = "".join(pieces[::2]).replace(AWAY, "")
    without = run(scenarios, "pytest", *workers, "--color=yes", TERM="dumb")
    assert not LIVE.search(without)
    assert _timeless(picture) == _timeless(without)


def _timeless(text: str) -> str:
    """The text without times, and without how far pytest was when it told that."""
    return re.sub(r"(?m)^time .*\n(  .*\n)*|\d+\.\d+s|=+|\r.*", "", text)


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["-q"], {}), (["-v"], {}), (["-s"], {}), ([], {"CI": "1"}), (["-p", "no:terminal"], {})],
    ids=["quiet", "verbose", "uncaptured", "CI", "without pytest's own"],
)
def test_there_is_no_live_line_where_it_would_be_in_the_way(
    scenarios: Project, arguments: list[str], variables: dict[str, Any]
) -> None:
    assert "\x1b[K" not in run(scenarios, "pytest", *arguments, "scenarios/uts.yaml", **variables)


def test_there_is_no_live_line_in_a_pipe_and_for_other_tests(scenarios: Project) -> None:
    scenarios.write("test_a.py", "def test_a(): pass")
    assert "\x1b" not in run(scenarios, "pytest", terminal=False)
    assert "\x1b[K" not in run(scenarios, "pytest", "test_a.py")


@pytest.mark.parametrize(
    ("options", "variables", "terminal", "coloured"),
    [
        ([], {}, True, True),
        (["--color=no"], {}, True, False),
        ([], {"NO_COLOR": "1"}, True, False),
        ([], {"TERM": "dumb"}, True, False),
        ([], {"FORCE_COLOR": "1"}, False, True),
        (["--color=yes"], {}, False, True),
    ],
)
def test_pytest_and_report_show_the_same_in_the_same_colours(
    scenarios: Project, options: list[str], variables: dict[str, Any], terminal: bool, coloured: bool
) -> None:
    shown = run(scenarios, "pytest", *options, terminal=terminal, **variables)
    again = run(scenarios, "harness.cli", "report", *options, terminal=terminal, **variables)
    matrix = _timeless(shown[shown.index(" isolation =") : shown.index("reports: ")]).partition("\n")[2]
    assert _timeless(again).endswith(matrix)
    assert "net  1/2 F" in re.sub(r"\x1b\[\d+m", "", matrix)
    assert ("net  \x1b[31m1/2 F\x1b[0m\n" in matrix) is coloured
    assert ("\x1b" in again) is coloured
