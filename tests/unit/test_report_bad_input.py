"""What `isoproof report` refuses, in one line and with exit status 2: files that are none, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import matrix
from harness.results import to_json
from tests.unit.test_report_matrix import Store, expecting, report, result, run
from tests.unit.test_results import ENVIRONMENT


def edited(**changes: Any) -> str:
    return json.dumps(json.loads(to_json(run(result(), result("uts-b")))) | changes)


def edited_result(**changes: Any) -> str:
    document = json.loads(to_json(run(result(), result("uts-b"))))
    document["results"][0] |= changes
    return json.dumps(document)


def edited_matrix(**changes: Any) -> str:
    return json.dumps(json.loads(matrix.to_json(matrix.of(run(result())))) | changes)


KNOWS_OTHERS = {"uts": {"title": "Names", "why": "", "checks": {}}}
DEEP = 100_000  # beyond what any Python recurses to
BROKEN = {
    "": "neither a result list nor a matrix of isoproof: ",
    "[]": "neither a result list nor a matrix of isoproof: ",
    "{}": "result format None is not 1",
    '{"matrix": {}}': "matrix format {} is not 1; run the checks again with this one",
    '{"matrix": 1}': "neither a result list nor a matrix of isoproof: ",
    to_json(run(result()))[:-30]: "neither a result list nor a matrix of isoproof: ",
    edited(format=2): "result format 2 is not 1; a newer isoproof has written it: read it with that",
    edited(format=0): "result format 0 is not 1; run the checks again with this one",
    edited(format=True): "Expected `int`, got `bool`",
    edited(format="1\n2"): "result format '1\\n2' is not 1; run the checks again with this one",
    edited(more=1): "unknown field `more`",
    edited(environment={}): "its environment is not one that isoproof has written",
    edited(environment={**ENVIRONMENT, "lsms": None}): "its environment is not one that isoproof has written",
    edited(environment={"a": None}).replace(
        "null", "[" * DEEP + "]" * DEEP
    ): "neither a result list nor a matrix of isoproof: ",
    edited(milliseconds=-1): "Expected `float` >= 0",
    edited(started="yesterday"): "started 'yesterday' is no time in ISO 8601",
    edited(runtimes=[{"name": "runc", "version": "1"}] * 2): "'runc' was put under test twice",
    edited(catalogue=KNOWS_OTHERS): "its catalogue does not know 'uts-a' of 'uts'",
    edited(runtimes=[]): "'uts-a' is told of 'runc', which was not put under test there",
    edited_result(outcome="fine"): "Invalid enum value 'fine'",
    edited_result(check="uts-b"): "'uts-b' is told of 'runc' twice",
    edited_result(line="x"): "Expected `int`, got `str`",
    edited_result(line=-7): "Expected `int` >= 1",
    edited_result(milliseconds=-0.5): "Expected `float` >= 0",
    edited_result(severity="dire"): "Invalid enum value 'dire'",
    edited_result(shape="x", check="uts-b"): "'uts-b' is told of with two areas, claims or severities",
    matrix.to_json(matrix.of(run(result())))[:-30]: "neither a result list nor a matrix of isoproof: ",
    edited_matrix(matrix=2): "matrix format 2 is not 1; a newer isoproof has written it: read it with that",
    edited_matrix(runtimes=[]): "'uts-a' is told of 'runc', which was not put under test there",
    edited_matrix(runtimes=[{"name": "runc", "version": "1"}] * 2): "'runc' was put under test twice",
    edited_matrix(runs=[]): "a runtime is of a run that is not in it",
    edited_matrix(areas=[]): "Expected `object`, got `array`",
}


@pytest.mark.parametrize("how", ["", "--matrix good.json", "--diff good.json", "good.json --format html --since"])
@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_file_that_is_none_is_one_line(store: Store, capsys: pytest.CaptureFixture[str], text: str, how: str) -> None:
    store("good.json", run(result()))
    Path("bad.json").write_text(text)
    assert report(*how.split(), "bad.json") == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("isoproof: bad.json: ")
    assert told.err.count("\n") == 1
    if how:
        assert BROKEN[text] in told.err
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--matrix", "none.json"], "open none.json: No such file or directory; isoproof verify stores a run"),
        (["--matrix"], "open reports/isolation.json: No such file or directory"),
        (["--diff", "good.json", "none.json"], "open none.json: no such file, and no runtime of that name"),
        (["--diff", "runc", "rnc"], "open rnc: no such file, and no runtime of that name"),
        (["--diff", "runc", "builtin"], "open reports/isolation.json: No such file or directory"),
        (["--diff", "runc", "builtin", "good.json"], "good.json: 'builtin' was not put under test there; there are"),
        (["--diff", "runc", "good.json"], "--diff takes two files, or two runtimes and the files that tell of them"),
        (["--diff", "good.json", "good.json", "good.json"], "--diff takes two files, or two runtimes"),
        (["--diff", "good.json", "other.json"], "good.json and other.json: no check is in both"),
        (["--matrix", "."], "open .: Is a directory"),
        (["."], "open .: Is a directory"),
        (["--diff", ".", "good.json"], "open .: Is a directory"),
        (["good.json", "--format", "html", "--since", "none.json"], "open none.json: No such file or directory"),
        (["good.json", "--format", "html", "--since", "other.json"], "other.json and good.json: no check is in both"),
        (["--matrix", "good.json", "renamed.json"], "renamed.json: no check of 'uts' is one of those of good.json"),
        (["--matrix", "good.json", "other.json"], "other.json: its 'uts-a' is another check than that of good.json: r"),
        (["--matrix", "stricter.json", "laxer.json"], "laxer.json: its 'uts-a' is another check than that of stricter"),
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
    store("stricter.json", expecting("inside.a == 1", "inside.b == 1"))
    store("laxer.json", expecting("inside.a == 1"))
    store("renamed.json", run(result("uts-z"), result("net-a")))
    store("elsewhere.json", run(result("net-a")))
    store("several.json", run(result(runtime="crun"), result(runtime="lxc")))
    store("newer.json", run(result(), version="1.2"))
    Path("matrix.json").write_text(matrix.to_json(matrix.of(run(result()))))
    assert report(*arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"isoproof: {sentence}")
    assert told.count("\n") == 1


def test_a_binary_file_is_no_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.json").write_bytes(b'{"format": "\xff"}')
    assert report("--matrix", "bad.json") == 2
    assert capsys.readouterr().err.count("\n") == 1
