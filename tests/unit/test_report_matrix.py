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
from harness.results import Failure, Outcome, Result, Results, Runtime, to_json
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


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Results], Path]:
    """Store a run in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def stored(name: str, results: Results) -> Path:
        Path(name).write_text(to_json(results))
        return Path(name)

    return stored


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
    assert "## What runc was not asked for" in lines
    assert r"| uts\-b | 2 | no \| such thing |" in lines


def test_the_matrix_on_a_terminal_fits_in_80_columns() -> None:
    names = [f"{name}{options}" for name in ("bubblewrap", "containerd", "docker") for options in ("", ":as-shipped")]
    names.append(f"oci:/opt/{'long/' * 30}runtime")
    made = matrix.of(run(*(result(runtime=name) for name in names), result("uts-b", "docker", "skip", reason="x" * 90)))
    lines = terminal.render_matrix(made).splitlines()
    assert max(map(len, lines)) <= 80
    headings = [line.split() for line in lines if line.startswith(" ")]
    assert ["bubblewrap", "bubblewrap", "containerd", "containerd"] in headings
    assert ["as-shipped", "…g/runtime"] in headings
    assert ["uts", *["1", "of", "1"] * 4] in [line.split() for line in lines]  # a skip has not failed


def report(*arguments: str) -> int:
    return cli.main(["report", *arguments])


def test_the_matrix_is_written_and_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store("a.json", run(result(), result("uts-b", outcome="fail")))
    store("b.json", run(result(runtime=SHIPPED), result("uts-b", SHIPPED)))
    assert report("--matrix", "a.json", "b.json", "--reports", "out") == 0  # that a check fails is an answer
    told = capsys.readouterr()
    assert told.err == "reports: out/matrix.html, out/matrix.json, out/matrix.md\n"
    assert f"{SHIPPED}: 1.1.5" in told.out
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


def edited(**changes: Any) -> str:
    return json.dumps(json.loads(to_json(run(result(), result("uts-b")))) | changes)


def edited_result(**changes: Any) -> str:
    document = json.loads(to_json(run(result(), result("uts-b"))))
    document["results"][0] |= changes
    return json.dumps(document)


def edited_matrix(**changes: Any) -> str:
    return json.dumps(json.loads(matrix.to_json(matrix.of(run(result())))) | changes)


DEEP = 100_000  # beyond what any Python recurses to
BROKEN = {
    "": "neither a result list nor a matrix of isoproof: ",
    "[]": "neither a result list nor a matrix of isoproof: ",
    "{}": "result format None is not 1",
    '{"matrix": {}}': "neither a result list nor a matrix of isoproof: ",
    to_json(run(result()))[:-30]: "neither a result list nor a matrix of isoproof: ",
    edited(format=2): "result format 2 is not 1",
    edited(more=1): "unknown field `more`",
    edited(environment={}): "its environment is not one that isoproof has written",
    edited(environment={**ENVIRONMENT, "lsms": None}): "its environment is not one that isoproof has written",
    edited(environment={"a": None}).replace(
        "null", "[" * DEEP + "]" * DEEP
    ): "neither a result list nor a matrix of isoproof: ",
    edited(runtimes=[]): "'uts-a' is told of 'runc', which was not put under test there",
    edited_result(outcome="fine"): "Invalid enum value 'fine'",
    edited_result(check="uts-b"): "'uts-b' is told of 'runc' twice",
    edited_result(line="x"): "Expected `int`, got `str`",
    matrix.to_json(matrix.of(run(result())))[:-30]: "neither a result list nor a matrix of isoproof: ",
    edited_matrix(matrix=2): "matrix format 2 is not 1",
    edited_matrix(runtimes=[]): "'uts-a' is told of 'runc', which was not put under test there",
    edited_matrix(runs=[]): "a runtime is of a run that is not in it",
    edited_matrix(areas=[]): "Expected `object`, got `array`",
}


@pytest.mark.parametrize("option", ["--matrix", "--diff"])
@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_file_that_is_none_is_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], text: str, option: str
) -> None:
    store("good.json", run(result()))
    Path("bad.json").write_text(text)
    assert report(option, "good.json", "bad.json") == 2
    told = capsys.readouterr().err
    assert told.startswith("isoproof: bad.json: ")
    assert BROKEN[text] in told
    assert told.count("\n") == 1
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--matrix", "none.json"], "open none.json: No such file or directory; pytest scenarios/ stores a run"),
        (["--matrix", "."], "open .: Is a directory"),
        (["--matrix"], "open reports/isolation.json: No such file or directory"),
        (["--diff", "good.json", "none.json"], "open none.json: no such file, and no runtime of that name"),
        (["--diff", "runc", "rnc"], "open rnc: no such file, and no runtime of that name"),
        (["--diff", "runc", "builtin"], "open reports/isolation.json: No such file or directory"),
        (["--diff", "runc", "builtin", "good.json"], "good.json: 'builtin' was not put under test there; there are"),
        (["--diff", "runc", "good.json"], "--diff takes two files, or two runtimes and the files that tell of them"),
        (["--diff", "good.json", "good.json", "good.json"], "--diff takes two files, or two runtimes"),
        (["--diff", "good.json", "other.json"], "other.json: its 'uts-a' is another check than that of good.json"),
        (["--matrix", "good.json", "renamed.json"], "renamed.json: no check of 'uts' is one of those of good.json"),
        (["--matrix", "good.json", "other.json"], "other.json: its 'uts-a' is another check than that of good.json"),
        (["--diff", "good.json", "elsewhere.json"], "good.json and elsewhere.json: no check is in both"),
        (["--diff", "good.json", "several.json"], "good.json and several.json: no runtime is in both: ['runc'] and"),
        (["--matrix", "good.json", "newer.json"], "newer.json: 'runc' is version '1.2', and '1.1.5' in good.json"),
        (["--matrix", "good.json", "--format", "pdf"], "no such report format: pdf"),
        (["--matrix", "good.json", "--reports", "good.json/a"], "write good.json/a"),
        (["good.json", "good.json"], "report takes one file, or with --matrix several"),
        (["matrix.json"], "matrix.json: it is a matrix of several runs; isoproof report --matrix matrix.json tells it"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    store("good.json", run(result()))
    store("other.json", run(result(claim="something else")))
    store("renamed.json", run(result("uts-z"), result("net-a")))
    store("elsewhere.json", run(result("net-a")))
    store("several.json", run(result(runtime="crun"), result(runtime="lxc")))
    store("newer.json", run(result(), version="1.2"))
    Path("matrix.json").write_text(matrix.to_json(matrix.of(run(result()))))
    assert report(*arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"isoproof: {sentence}")
    assert told.count("\n") == 1


def test_hostile_names_reach_no_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "uts-\x1b[2J\nx"
    store("a.json", run(result(hostile), result("uts-b", outcome="fail"), result(runtime=hostile, reason=hostile)))
    store("b.json", run(result(hostile, outcome="fail", claim="b"), result("uts-b"), result(runtime=hostile)))
    for arguments, status in ((["--matrix", "a.json"], 1), (["--diff", "a.json", "b.json"], 2)):
        assert report(*arguments) == status
        told = capsys.readouterr()
        assert "\x1b" not in told.out + told.err
    assert told.err.count("\n") == 1
    store("b.json", run(result(hostile, outcome="fail"), result("uts-b"), result(runtime=hostile)))
    assert report("--diff", "a.json", "b.json") == 1
    told = capsys.readouterr()
    assert "\x1b" not in told.out
    assert told.out.count("\n") == 2


def test_a_binary_file_is_no_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.json").write_bytes(b'{"format": "\xff"}')
    assert report("--matrix", "bad.json") == 2
    assert capsys.readouterr().err.count("\n") == 1
