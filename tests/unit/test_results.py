"""The result list: what it counts, how it travels, what it refuses to read; and the reports made from it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness import report
from harness.errors import BadInput
from harness.report import markdown, terminal
from harness.report._text import Look
from harness.results import (
    LONGEST_TEXT,
    Failure,
    Outcome,
    Proof,
    Reach,
    Result,
    Results,
    Runtime,
    from_json,
    merge,
    printable,
    result_from_text,
    result_to_text,
    to_json,
)
from harness.timing import LaunchTime, Timing

ENVIRONMENT = {
    "release": "6.18.0",
    "machine": "x86_64",
    "uid": 0,
    "rootless": False,
    "cgroup": {"memory": 1, "pids": 1, "cpu": 1, "writable": True},
    "lsms": ["landlock"],
    "python": "3.11.7",
    "versions": {"isoproof": "0.1.0"},
}


def a_result(check: str = "uts-a", outcome: Outcome | None = "pass", **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "check": check,
        "area": "uts",
        "path": "scenarios/uts.yaml",
        "line": 7,
        "runtime": "builtin",
        "claim": "The hostname is its own",
        "severity": "leak",
        "outcome": outcome,
    }
    return Result(**{**fields, **changes})


def a_failure(value: str = "'host'") -> Failure:
    return Failure(
        "inside.identity.hostname != host.identity.hostname",
        "scenarios/uts.yaml",
        9,
        [("inside.identity.hostname", value), ("host.identity.hostname", "'host'")],
    )


def some_timing(**changes: Any) -> Timing:
    launch = LaunchTime(["uts-a", "uts-b"], "builtin", 700.0, {"start": 500.0, "probes": 200.0})
    fields: dict[str, Any] = {
        "milliseconds": 41000.0,
        "session": {"collect": 300.0, "rest": 90.0},
        "checks": {"uts": {"start": 500.0, "probes": 6110.0}},
        "proofs": {"uts": {"sandboxes": 30000.0, "start": 4000.0}},
        "slowest": [launch],
    }
    return Timing(**{**fields, **changes})


def some_results(*results: Result) -> Results:
    runtimes = [Runtime("builtin", "0.1.0"), Runtime("runc", "1.1.5")]
    return Results(ENVIRONMENT, runtimes, merge(list(results)), "2026-11-23T20:00:00+00:00", 1234.5)


def test_results_survive_json() -> None:
    results = some_results(
        a_result(outcome="fail", failures=[a_failure()], proofs=[Proof("skip-ns=uts", "proven")]),
        a_result("uts-b", outcome=None, reason="…"),
    )
    results.timing = some_timing()
    assert from_json(to_json(results)) == results


def test_a_file_from_before_there_were_times_is_read() -> None:
    document = json.loads(to_json(some_results(a_result())))
    del document["timing"]
    assert from_json(json.dumps(document)) == some_results(a_result())


def test_markdown_tells_where_the_time_went() -> None:
    results = some_results(a_result())
    plain = markdown.render(results)
    results.timing = some_timing(processes=2)
    added = markdown.render(results).removeprefix(plain).lstrip()
    assert added.startswith("<details><summary>Time by part: 41.00 s, of 2 processes added up</summary>\n\n|")
    assert re.search(r"^\| start \|  \| 0\.50 \| 4\.00 \| 4\.50 \| containers start: .* \|$", added, re.MULTILINE)
    assert re.search(r"^\| all \| 0\.39 \| 6\.61 \| 34\.00 \| 41\.00 \|  \|$", added, re.MULTILINE)
    assert re.search(r"^\| uts \| 6\.61 \| 34\.00 \|$", added, re.MULTILINE)
    assert "| 0.70 | start | builtin |  | uts\\-a, uts\\-b |" in added
    assert added.endswith("\n</details>\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not a result list"),
        ("[]", "not a result list"),
        ("{}", "result format None is not 1"),
        ('{"format": 2}', "result format 2 is not 1"),
        ('{"format": 1}', "missing required field `environment`"),
    ],
)
def test_a_file_that_is_no_result_list_is_one_line(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=re.escape(sentence)) as caught:
        from_json(text, "old.json")
    assert str(caught.value).startswith("old.json: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_field_is_refused() -> None:
    document = json.loads(to_json(some_results(a_result())))
    document["results"][0]["verdict"] = "pass"
    with pytest.raises(BadInput, match="verdict"):
        from_json(json.dumps(document))


@pytest.mark.parametrize("check_comes_first", [True, False])
def test_a_check_and_its_proofs_become_one_result(check_comes_first: bool) -> None:
    check = a_result(outcome="pass")
    proof = a_result(outcome=None, proofs=[Proof("skip-ns=uts", "proven")])
    [result] = merge([check, proof] if check_comes_first else [proof, check])
    assert result.outcome == "pass"
    assert [proof.sabotage for proof in result.proofs] == ["skip-ns=uts"]


def test_results_are_ordered_by_file_and_line() -> None:
    late, early, other = (
        a_result("c", line=30),
        a_result("a", line=9),
        a_result("b", path="scenarios/net.yaml"),
    )
    assert merge([late, early, other]) == [other, early, late]


def test_counts_keep_runtimes_and_areas_apart() -> None:
    results = some_results(
        a_result("a"),
        a_result("b", outcome="fail"),
        a_result("a", runtime="runc", outcome="error"),
        a_result("c", area="pid"),
        a_result("d", outcome=None),
    )
    assert results.outcomes("builtin") == {"pass": 2, "fail": 1}
    assert results.outcomes("builtin", "uts") == {"pass": 1, "fail": 1}
    assert results.outcomes("runc") == {"error": 1}


@pytest.mark.parametrize(
    ("outcome", "proofs", "standing"),
    [
        ("pass", [], None),
        ("pass", ["proven", "proven"], "proven"),
        ("pass", ["proven", "skip"], "proven"),
        ("pass", ["skip", "skip"], "cannot be shown here"),
        ("skip", ["skip"], "cannot be shown here"),
        ("xfail", ["skip"], "cannot be shown here"),
        ("pass", ["proven", "unproven"], "not proven"),
        ("pass", ["skip", "error"], "not proven"),
        ("fail", ["proven"], "not proven"),
        ("error", ["skip"], "not proven"),
        (None, ["proven"], "proven"),  # where the proof alone was asked for
    ],
)
def test_nothing_is_proven_that_was_not_seen_red(outcome: Any, proofs: list[Any], standing: str | None) -> None:
    result = a_result(outcome=outcome, proofs=[Proof(f"knob-{number}", proof) for number, proof in enumerate(proofs)])
    assert result.standing() == standing
    assert some_results(result).standings("builtin") == ({standing: 1} if standing else {})
    assert not some_results(result).standings("runc")


def test_a_result_travels_as_one_line() -> None:
    result = a_result(outcome="fail", reason="two\nlines", failures=[a_failure()])
    assert "\n" not in result_to_text(result)
    assert result_from_text(result_to_text(result)) == result


@pytest.mark.parametrize(
    ("hostile", "safe"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("bell\a\r", "bell\\x07\\r"),
        ("two\nlines", "two\nlines"),
        ("größe ✓", "größe ✓"),
    ],
)
def test_printable_text_acts_on_no_terminal(hostile: str, safe: str) -> None:
    assert printable(hostile) == safe
    assert printable(safe) == safe


def test_printable_text_is_bounded() -> None:
    text = printable("x" * (LONGEST_TEXT + 5))
    assert text.endswith("… (5 more characters)")
    assert len(text) < LONGEST_TEXT + 50


def test_what_cannot_be_shown_is_counted_apart_and_gives_its_reason() -> None:
    unshown = a_result("uts-unshown", proofs=[Proof("skip-ns=uts", "skip", "no capability here")])
    results = some_results(a_result(proofs=[Proof("skip-ns=uts", "proven")]), unshown)
    text = terminal.render(results, Look(verbosity=1))
    assert re.search(r"^  uts-unshown +pass 0/0 +-$", text, re.MULTILINE)
    assert re.search(r"^builtin +2 .* 1/2$", text, re.MULTILINE)
    assert "cannot be shown on builtin, 1 x: no capability here\n  uts-unshown (skip-ns=uts)\n" in text
    page = markdown.render(results)
    assert "| uts\\-unshown | leak | ✅ pass 0/0 |  |" in page
    assert "| pass | fail | error | skip | xfail | proven | cannot be shown here | not proven |" in page
    assert "| builtin | 0.1.0 | 2 | 0 | 0 | 0 | 0 | 1 | 1 | 0 |" in page
    assert "| uts\\-unshown \\(skip\\-ns=uts\\) | builtin | cannot be shown here | no capability here |" in page


def test_the_matrix_of_knobs_shows_their_own_checks_first() -> None:
    results = some_results(a_result())
    assert "sabotage" not in terminal.render(results) + markdown.render(results)
    results.reaches = [
        Reach("skip-ns=uts", ["uts-b", "uts-c"], red=["pid-a", "uts-b"], error=["net-a"], green=["uts-c", "fs-a"]),
        Reach("lo-down", ["net-up"], skipped=["net-up"]),
    ]
    assert from_json(to_json(results)) == results
    text = terminal.render(results, Look(verbosity=1))
    assert "\n  skip-ns=uts: uts-b; others: pid-a; without a verdict: net-a\n  lo-down: none\n" in text
    assert "lo-down" not in terminal.render(results)
    page = markdown.render(results)
    assert "<details><summary>What each of 2 sabotages turns red</summary>" in page
    assert "| skip\\-ns=uts | uts\\-b | pid\\-a | net\\-a | 2 |\n| lo\\-down |  |  |  | 0 |\n" in page


HOSTILE = [
    "[a](http://evil.example)",
    "![x](//evil.example/x.png)",
    "<script>alert(1)</script>",
    "| a | b |",
    "`code` **bold** @someone #1",
    "\n## heading\n",
    "https://evil.example www.evil.example",
    "\x1b]8;;x\a",
    "::add-mask::pass",
    "</details></td></table>",
]


def test_every_report_with_a_file_is_written(tmp_path: Path) -> None:
    written = report.write_all(some_results(a_result()), tmp_path / "reports")
    assert {"isolation.json", "isolation.md"} <= {path.name for path in written}
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == sorted(path.name for path in written)
    assert from_json((tmp_path / "reports" / "isolation.json").read_text()) == some_results(a_result())


def test_an_unknown_report_format_says_which_there_are() -> None:
    with pytest.raises(
        BadInput, match="no such report format: pdf; there are html, json, junit, markdown, sarif, terminal"
    ):
        report.load("pdf")
