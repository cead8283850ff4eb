"""Runs of one runtime on several kernels in one matrix."""

import pytest
from msgspec.structs import replace

from harness import matrix
from harness.errors import BadInput
from harness.matrix import Matrix
from harness.report import html, markdown, terminal
from harness.results import Result
from tests.unit.test_report_matrix import result, run
from tests.unit.test_results import ENVIRONMENT


def on(release: str, *results: Result, version: str = "1.1.5") -> Matrix:
    """The matrix of a run on some kernel."""
    return matrix.of(replace(run(*results, version=version), environment={**ENVIRONMENT, "release": release}))


def test_a_runtime_on_two_kernels_has_two_columns() -> None:
    made = matrix.merged(
        {
            "here": on("6.18.44", result(), result(runtime="crun")),
            "there": on("6.1.0-57-amd64", result(outcome="skip", reason="new in Linux 6.2"), version="1.2"),
        }
    )
    assert [(column.name, column.version, column.run) for column in made.runtimes] == [
        ("runc on Linux 6.18", "1.1.5", 0),
        ("crun", "1.1.5", 0),  # which is on one kernel only
        ("runc on Linux 6.1", "1.2", 1),
    ]
    cells = made.areas["uts"]["uts-a"].cells
    assert {name: cell.verdict for name, cell in cells.items()} == {
        "runc on Linux 6.18": "pass",
        "crun": "pass",
        "runc on Linux 6.1": "skip",
    }
    assert matrix.lost(made) == []
    text = markdown.render_matrix(made)
    assert "| check | severity | runc on Linux 6.18 | crun | runc on Linux 6.1 |" in text
    heading = [line.split() for line in terminal.render_matrix(made).splitlines()[:2]]
    assert heading == [["runc", "crun", "runc"], ["Linux", "6.18", "Linux", "6.1"]]


def test_kernels_of_one_version_are_told_apart_by_their_release() -> None:
    releases = ["6.1.0-57-amd64", "6.1.0-57-rt-amd64"]
    made = matrix.merged({release: on(release, result()) for release in releases})
    assert [column.name for column in made.runtimes] == [f"runc on Linux {release}" for release in releases]


def test_a_matrix_of_kernels_is_merged_again() -> None:
    two = matrix.merged({"a": on("6.18.44", result()), "b": on("6.1.0-57-amd64", result())})
    again = matrix.merged({"two": two, "later": on("6.1.0-57-amd64", result(outcome="fail"))})
    assert [column.name for column in again.runtimes] == ["runc on Linux 6.18", "runc on Linux 6.1"]
    assert again.areas["uts"]["uts-a"].cells["runc on Linux 6.1"].verdict == "fail"
    third = matrix.merged({"two": two, "later": on("6.1.0-57-rt-amd64", result())})
    assert [column.name for column in third.runtimes] == [
        "runc on Linux 6.18.44",
        "runc on Linux 6.1.0-57-amd64",
        "runc on Linux 6.1.0-57-rt-amd64",
    ]


def test_two_versions_on_one_kernel_are_not_mixed() -> None:
    runs = {"a": on("6.1.0", result()), "b": on("6.1.0", result(), version="1.2"), "c": on("6.18", result())}
    with pytest.raises(BadInput, match=r"b: 'runc on Linux 6.1' is version '1.2', and '1.1.5' in a"):
        matrix.merged(runs)


def test_the_page_tells_options_and_kernels_apart() -> None:
    shipped = result(runtime="runc:as-shipped")
    page = html.render_matrix(matrix.merged({"here": on("6.18.44", shipped), "there": on("6.1.0", shipped)}))
    assert page.count("<span>runc<i>:as-shipped</i> on Linux 6.18</span>") == 2  # in the list of choices, too
    assert "<dt>as shipped<dd>the runtime with its own defaults" in page
