"""The matrix of several runs, and where two differ: what they hold, how they are told, what they refuse to mix."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from harness import cli, matrix
from harness.matrix import Cell, Matrix
from harness.report import markdown, terminal
from harness.results import About, Area, Failure, Outcome, Result, Results, Runtime
from tests.unit.test_results import ENVIRONMENT, a_result

DENIED = [("inside.raise.errno", "'EPERM'"), ("inside.init.pid", "1")]
SHIPPED = "docker:as-shipped"


def result(check: str = "uts-a", runtime: str = "runc", outcome: Outcome | None = "pass", **more: Any) -> Result:
    told = {"area": check.partition("-")[0], "claim": f"{check} holds", **more}
    return a_result(check, outcome, runtime=runtime, **told)


def run(*results: Result, version: str = "1.1.5", **missing: str) -> Results:
    """A run of the runtimes that the results are of, and of those that were missing."""
    names = dict.fromkeys(each.runtime for each in results)
    runtimes = [Runtime(name, version) for name in names] + [Runtime(name, "", why) for name, why in missing.items()]
    return Results(ENVIRONMENT, runtimes, list(results), "2026-11-29T20:00:00+00:00", 10.0)


def red(value: str) -> list[Failure]:
    return [Failure("inside.raise.errno == 'EPERM'", "scenarios/a.yaml", 9, [("inside.raise.errno", value)])]


Store = Callable[[str, Results], Path]


@pytest.mark.parametrize(
    ("more", "cell"),
    [
        ({"answers": DENIED}, Cell("pass", ["EPERM"])),
        ({"answers": [("inside.open.errno", "None"), *DENIED, *DENIED]}, Cell("pass", ["EPERM"])),
        ({"answers": [("inside.try", "{'a': {'errno': 'EACCES'}, 'b': {'errno': None}}")]}, Cell("pass", ["EACCES"])),
        ({"outcome": "fail", "failures": red("None")}, Cell("fail", ["0"])),
        ({"outcome": "fail", "failures": red("'ENOSYS'"), "answers": DENIED}, Cell("fail", ["ENOSYS"])),
        ({"outcome": "fail", "failures": red("'ENOTHING'; E'")}, Cell("fail")),
        ({"outcome": "skip", "reason": "too old"}, Cell("skip", [], "too old")),
    ],
)  # fmt: skip
def test_a_cell_has_the_verdict_the_errno_and_the_reason(more: dict[str, Any], cell: Cell) -> None:
    made = matrix.of(run(result(**more)))
    assert made.areas["uts"]["uts-a"].cells == {"runc": cell}


def test_rows_are_checks_in_shapes_and_columns_runtimes_with_options() -> None:
    one = result("net-a", SHIPPED, command="docker run x")
    made = matrix.of(run(one, result(shape="userns"), result(outcome=None), lxc="lxc is not installed"))
    assert [(area, check) for area, check, _ in made.rows()] == [("net", "net-a"), ("uts", "uts-a[userns]")]
    assert [(column.name, column.version, column.missing, column.command) for column in made.runtimes] == [
        (SHIPPED, "1.1.5", "", "docker run x"),
        ("runc", "1.1.5", "", ""),
        ("lxc", "", "lxc is not installed", ""),
    ]


def test_a_stored_matrix_has_a_line_for_each_check_and_is_read_again(tmp_path: Path) -> None:
    made = matrix.of(run(result(answers=DENIED), result("net-a", "crun", "error", reason="late"), result("uts-b")))
    text = matrix.to_json(made)
    path = tmp_path / "matrix.json"
    path.write_text(text)
    assert matrix.read(path) == made
    for check in ("uts-a", "uts-b", "net-a"):
        [line] = [line for line in text.splitlines() if f'"{check}": ' in line]
        json.loads(f"{{{line.rstrip(',')}}}")


@pytest.mark.parametrize("made", [matrix.of(run()), matrix.of(run(lxc="not here"))])
def test_a_matrix_may_be_empty(tmp_path: Path, made: Matrix) -> None:
    (tmp_path / "matrix.json").write_text(matrix.to_json(made))
    assert matrix.read(tmp_path / "matrix.json") == made
    terminal.render_matrix(made)
    markdown.render_matrix(made)


def test_runs_of_several_runtimes_become_one_matrix() -> None:
    runs = {
        "a": matrix.of(run(result(), result("uts-b", outcome="fail"))),
        "b": matrix.of(replace(run(result(runtime="crun")), started="later")),
        "c": matrix.of(run(result("uts-b"), result("net-a"))),
    }
    made = matrix.merged(runs)
    assert [run.started for run in made.runs] == [runs["a"].runs[0].started, "later", runs["c"].runs[0].started]
    assert [(column.name, column.run) for column in made.runtimes] == [("runc", 2), ("crun", 1)]
    verdicts = {check: {name: cell.verdict for name, cell in row.cells.items()} for _, check, row in made.rows()}
    assert verdicts == {
        "uts-a": {"runc": "pass", "crun": "pass"},
        "uts-b": {"runc": "pass"},  # made twice: the later counts
        "net-a": {"runc": "pass"},
    }
    assert [row.cells.keys() for _, _, row in runs["a"].rows()] == [{"runc"}] * 2  # they are as they were


def test_a_result_that_got_lost_is_noticed() -> None:
    alone = matrix.of(run(result(), result("uts-b"), result("uts-b", "crun")))
    assert matrix.lost(alone) == ["crun: no result of 1 checks: uts-a"]
    parts = {"a": matrix.of(run(result())), "b": matrix.of(run(result("net-b", "crun")))}
    assert matrix.lost(matrix.merged(parts)) == []


def test_markdown_tells_verdicts_errnos_versions_and_reasons() -> None:
    text = markdown.render_matrix(
        matrix.of(
            run(
                result(answers=DENIED, command="runc run <x>"),
                result("uts-a", SHIPPED, "fail", failures=red("None")),
                result("uts-b", "runc", "skip", reason="no | such thing"),
                result("uts-b", "runc", "skip", reason="no | such thing", shape="userns"),
                result("uts-b", SHIPPED, "xfail", reason="issue 12"),
                lxc="lxc is not installed",
            )
        )
    )
    lines = text.splitlines()
    assert r"| runc | 1.1.5 | 1 | 0 | 0 | 2 | 0 | runc run &lt;x&gt; |" in lines
    assert r"| lxc | lxc is not installed | 0 | 0 | 0 | 0 | 0 |  |" in lines
    assert r"| check | severity | runc | docker:as\-shipped | lxc |" in lines
    assert r"| uts\-a | leak | pass (EPERM) | ❌ **fail** (0) |  |" in lines
    assert r"| uts | 1 of 1 | 0 of 2 |  |" in lines
    assert r"| uts\-a | docker:as\-shipped | fail | it does not hold: uts\-a holds |" in lines
    assert r"| uts\-b | docker:as\-shipped | xfail | issue 12 |" in lines
    assert "<details><summary>What runc was not asked for, or cannot be made here: 2</summary>" in lines
    assert r"| uts\-b | 2 | no \| such thing |" in lines


def test_the_matrix_on_a_terminal_fits_in_80_columns() -> None:
    names = [f"{name}{options}" for name in ("bubblewrap", "containerd", "docker") for options in ("", ":as-shipped")]
    names.append(f"oci:/opt/{'long/' * 30}runtime")
    made = matrix.of(run(*(result(runtime=name) for name in names), result("uts-b", "docker", "skip", reason="x" * 90)))
    lines = terminal.render_matrix(made).splitlines()
    assert max(map(len, lines)) <= 80
    headings = [line.split() for line in lines if line.startswith(" ")]
    assert ["bubblewrap", "bubblewrap", "containerd", "containerd", "docker", "docker"] in headings
    assert ["as-shipped"] * 3 in headings
    assert ["…g/runtime"] in headings
    assert ["uts", *["1/1"] * 6] in [line.split() for line in lines]  # a skip has not failed


def report(*arguments: str) -> int:
    return cli.main(["report", *arguments])


@pytest.mark.parametrize(("outcome", "status"), [("pass", 0), ("xfail", 0), ("skip", 0), ("fail", 1), ("error", 1)])
def test_a_report_ends_as_its_run_did(store: Store, outcome: Outcome, status: int) -> None:
    store("a.json", run(result(outcome=outcome)))
    assert report("a.json") == status


def test_the_matrix_is_written_and_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result(), result("uts-b", outcome="fail")))
    store("b.json", run(result(runtime=SHIPPED), result("uts-b", SHIPPED)))
    assert report("--matrix", "a.json", "b.json", "--reports", "out") == 0  # that a check fails is an answer
    told = capsys.readouterr()
    assert told.err == "reports: out/matrix.html, out/matrix.json, out/matrix.md\n"
    assert f"with runc 1.1.5, {SHIPPED} 1.1.5\n" in told.out
    stored = matrix.read(Path("out/matrix.json"))
    assert [column.name for column in stored.runtimes] == ["runc", SHIPPED]
    assert sorted(path.name for path in Path("out").iterdir()) == ["matrix.html", "matrix.json", "matrix.md"]
    assert report("--matrix", "out/matrix.json", "--format", "markdown", "--reports", "again") == 0
    assert capsys.readouterr().out == Path("out/matrix.md").read_text() == Path("again/matrix.md").read_text()


def test_what_the_last_run_has_stored_is_the_matrix_by_default(store: Store) -> None:
    Path("reports").mkdir()
    store("reports/isolation.json", run(result()))
    assert report("--matrix") == 0
    assert Path("reports/matrix.md").exists()


def test_a_check_without_a_verdict_is_no_answer(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result(), result("uts-b", outcome="error", reason="late")))
    assert report("--matrix", "a.json") == 1
    store("a.json", run(result(), result("uts-b"), result(runtime="crun")))
    assert report("--matrix", "a.json") == 1
    assert "crun: no result of 1 checks: uts-b" in capsys.readouterr().err


def test_two_runs_are_compared_by_verdict(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result(), result("uts-b", answers=DENIED), result("uts-c"), result("uts-a", "crun", "skip")))
    store(
        "b.json",
        run(result(), result("uts-b", outcome="fail", failures=red("None")), result("uts-d"), result(runtime="lxc")),
    )
    assert report("--diff", "a.json", "b.json") == 1
    assert capsys.readouterr().out.splitlines() == [
        "uts-b  runc: pass (EPERM) -> fail (0)",
        "uts-c  runc: pass         -> -",
        "uts-d  runc: -            -> pass",
    ]
    assert report("--diff", "a.json", "a.json") == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "no verdict differs\n")


def test_a_run_is_compared_with_a_stored_matrix(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result()))
    assert report("--matrix", "a.json", "--reports", ".") == 0
    assert report("--diff", "matrix.json", "a.json") == 0
    store("a.json", run(result(outcome="fail"), version="1.2"))
    assert report("--diff", "matrix.json", "a.json") == 1
    assert capsys.readouterr().out.endswith("uts-a  runc: pass -> fail\n")


def test_runs_of_one_runtime_each_are_compared_across(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result()))
    store("b.json", run(result(runtime="crun", outcome="fail")))
    assert report("--diff", "a.json", "b.json") == 1
    assert capsys.readouterr().out == "uts-a  runc: pass -> crun: fail\n"


def test_two_runtimes_of_a_run_are_compared(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("reports").mkdir()
    shipped = "runc:as-shipped"
    store(
        "reports/isolation.json",
        run(result(), result("uts-b"), result(runtime=shipped), result("uts-b", shipped, "fail")),
    )
    assert report("--diff", "runc", shipped) == 1
    assert capsys.readouterr().out == f"uts-b  runc: pass -> {shipped}: fail\n"
    assert report("--diff", shipped, shipped) == 0


def test_runtimes_of_a_run_need_not_be_known_here(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result(runtime="newest"), result(runtime="older:x", outcome="fail")))
    assert report("--diff", "newest", "older:x", "a.json") == 1
    assert capsys.readouterr().out == "uts-a  newest: pass -> older:x: fail\n"


def expecting(*expect: str) -> Results:
    about = About(why="", expect=list(expect), sabotages={}, see=[], also=[])
    return replace(run(result()), catalogue={"uts": Area("Names", "", {"uts-a": about})})


def test_a_check_is_known_again_by_what_it_expects(store: Store) -> None:
    store("a.json", expecting("inside.a == 1"))
    store("old.json", run(result(outcome="fail")))  # from before it was kept what is expected
    assert report("--matrix", "old.json", "a.json") == 0
    assert matrix.read(Path("reports/matrix.json")).areas["uts"]["uts-a"].cells["runc"].verdict == "pass"
    assert report("--matrix", "a.json", "reports/matrix.json") == 0


def test_a_run_of_an_older_version_can_be_compared(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A new check is one that came, a new claim makes another check, a new severity or expectation the same one."""
    store("old.json", run(result("uts-a"), result("uts-b", claim="another"), result("uts-c", severity="dos")))
    store("new.json", run(result("uts-a"), result("uts-b"), result("uts-c", outcome="fail"), result("uts-d")))
    assert report("--diff", "old.json", "new.json") == 1
    assert capsys.readouterr().out.splitlines() == [
        "uts-b  runc: pass -> -",
        "uts-b  runc: -    -> pass",
        "uts-c  runc: pass -> fail",
        "uts-d  runc: -    -> pass",
    ]
    assert report("new.json", "--format", "html", "--since", "old.json") == 1  # for a check has failed
    store("other.json", expecting("inside.a == 2"))
    store("same.json", expecting("inside.a == 1"))
    assert report("--diff", "other.json", "same.json") == 0


def test_hostile_names_reach_no_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "uts-\x1b[2J\nx"
    store("a.json", run(result(hostile), result("uts-b", outcome="fail"), result(runtime=hostile, reason=hostile)))
    store("b.json", run(result(hostile, outcome="fail", claim="b"), result("uts-b"), result(runtime=hostile)))
    for arguments, status in ((["--matrix", "a.json"], 1), (["--matrix", "a.json", "b.json"], 2)):
        assert report(*arguments) == status
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err
    assert told.err.count("\n") == 1
    store("b.json", run(result(hostile, outcome="fail"), result("uts-b"), result(runtime=hostile)))
    assert report("--diff", "a.json", "b.json") == 1
    told = capsys.readouterr()
    assert "\x1b" not in told.out
    assert told.out.count("\n") == 2
