"""A stored result list that was edited, in whatever place, is refused in one line or told in every format."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import cli, report
from harness.errors import BadInput
from harness.results import About, Area, Proof, Reach, from_json, to_json
from tests.unit.test_results import ENVIRONMENT, a_failure, a_result, some_results, some_timing

Keys = tuple[str | int, ...]
ODD: list[Any] = [
    None,
    True,
    -1,
    1e300,
    "9999-12-31T23:59:59+00:00",
    "9999-12-31T23:59:59+14:00",  # which is soon enough only in UTC
    10**30,
    "",
    "\x1b[2J\na",
    "<b>|`@a",
    [],
    {},
    [[]],
    {"a": None},
    "x" * 50_000,
]


def a_document() -> Any:
    """One of each kind."""
    results = some_results(
        a_result("uts-a", "pass", answers=[("a", "1")], proofs=[Proof("skip-ns=uts", "proven")], command="run"),
        a_result("uts-b", "fail", failures=[a_failure()], shape="userns"),
        a_result("uts-c", "error", reason="late", proofs=[Proof("lo-down", "unproven", "green")]),
        a_result("uts-a", "xfail", reason="issue 12", runtime="runc"),
    )
    about = About("why", ["a == b"], {"skip-ns=uts": "left out"}, ["uts_namespaces(7)"], ["other"])
    results.catalogue = {"uts": Area("Names", "why", dict.fromkeys(("uts-a", "uts-b", "uts-c"), about))}
    results.timing = some_timing()
    results.reaches = [Reach("skip-ns=uts", ["uts-a"], red=["uts-a"])]
    results.environment = {**ENVIRONMENT, "command": ["isoproof", "verify"], "image": {"path": "a", "digest": "b"}}
    return json.loads(to_json(results))


def places(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Where each part of a document stands."""
    if keys:
        yield keys
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*keys, key))


def edited(keys: Keys) -> Iterator[Any]:
    """The document without what stands in a place, with it twice, and with odd things instead of it."""
    for odd in [*ODD, "out", "twice"]:
        document = copy.deepcopy(a_document())
        parent = document
        for key in keys[:-1]:
            parent = parent[key]
        if odd == "out":
            del parent[keys[-1]]
        elif odd == "twice" and isinstance(parent, list):
            parent.append(parent[keys[-1]])  # type: ignore[index]
        else:
            parent[keys[-1]] = odd
        yield document


@pytest.mark.parametrize("top", list(a_document()))
def test_an_edited_list_is_refused_in_a_line_or_told(top: str) -> None:
    refused = 0
    for keys in places({top: a_document()[top]}):
        for document in edited(keys):
            complaint = ""
            try:
                results = from_json(json.dumps(document), "a.json")
            except BadInput as error:
                complaint = str(error)
            if complaint:
                assert complaint.startswith("a.json: "), keys
                assert len(complaint.splitlines()) == 1, keys
                refused += 1
            else:
                for name in set(report.names()) - {"html"}:  # which takes as long as all others
                    assert report.load(name).render(results), keys
    assert refused


def test_a_complaint_is_not_as_long_as_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = a_document()
    document["results"][0]["runtime"] = "x" * 1_000_000
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert cli.main(["report", str(tmp_path / "a.json")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert len(told) < 2100
