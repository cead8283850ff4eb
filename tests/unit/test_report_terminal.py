"""What a run looks like on a terminal: narrow, wide, without colours, with few runtimes and with many."""

import io
import re
import shlex
from typing import get_args

import pytest

from harness import environment
from harness.report import terminal
from harness.report._text import Look, enumerated, look, table, written
from harness.results import Outcome, Proof, Result, Results, Runtime
from harness.severities import SEVERITIES
from tests.unit.test_results import ENVIRONMENT, a_failure, a_result, some_results, some_timing

COLOUR = re.compile(r"\x1b\[(?:31|32|33|0)m")
NAMES = ["builtin", "bubblewrap", "bubblewrap:as-shipped", "docker:seccomp=unconfined", f"oci:/opt/{'x/' * 30}runtime"]


def several(name: str) -> list[tuple[Outcome, str]]:
    return [("pass", ""), ("skip", f"{name} cannot give it " * 9), ("xfail", "known")]


def of_runtimes(count: int) -> Results:
    """Of each outcome something, on so many runtimes."""
    names = [*NAMES, *(f"runtime-{number}" for number in range(count))][:count]
    results = some_results(
        *(
            a_result(f"{area}-{outcome}", outcome, runtime=name, shape=shape, reason=reason, area=area)
            for name in names
            for area in ("uts", "resource-exhaustion")
            for outcome, reason in several(name)
            for shape in ("", "pod-security-restricted")
        ),
        a_result("uts-with-a-name-that-is-longer-than-what-a-terminal-of-eighty-columns-can-show", "fail"),
        a_result("uts-silent", "error", reason="the container did not run"),
        a_result("uts-tame", proofs=[Proof("a", "unproven", "it did not go red"), Proof("b", "skip", "no such thing")]),
    )
    results.runtimes = [Runtime(name, "1.2.3+ds1-4~deb12u2") for name in names]
    results.timing = some_timing()
    return results


@pytest.mark.parametrize("verbosity", [-2, -1, 0, 1])
@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 13, 25])
def test_every_line_fits_whatever_the_width(count: int, width: int, verbosity: int) -> None:
    text = written(terminal.lines(of_runtimes(count), width, verbosity))
    assert max(map(len, text.splitlines())) <= width
    assert all(line == line.rstrip() for line in text.splitlines())


def test_words_and_signs_say_all_that_colours_do() -> None:
    results = of_runtimes(13)
    coloured = terminal.render(results, Look(verbosity=1, coloured=True))
    assert COLOUR.sub("", coloured) == terminal.render(results, Look(verbosity=1))
    [area] = re.findall(r"^uts +(.*)$", terminal.render(some_results(*_one_of_each())), re.MULTILINE)
    assert area == "2/6 EFuxs  -"
    assert "E error, F fail, u unproven, x xfail, s skip" in terminal.render(results)


def _one_of_each() -> list[Result]:
    unproven = a_result("uts-tame", proofs=[Proof("a", "unproven", "it did not go red")])
    return [*(a_result(f"uts-{outcome}", outcome) for outcome in get_args(Outcome)), unproven]


def test_only_what_holds_counts_as_not_proven() -> None:
    proofs = [Proof("a", "unproven", "it did not go red")]
    skipped = a_result("uts-b", "skip", reason="no such thing", proofs=[Proof("a", "skip", "nor such a knob")])
    text = terminal.render(some_results(a_result(outcome="fail", proofs=proofs), skipped))
    assert re.search(r"^uts +0/2 Fs +-$", text, re.MULTILINE)
    assert "nor such a knob" not in text  # that is no news


def test_colours_are_for_what_happened_and_not_for_zeroes() -> None:
    results = some_results(a_result(), a_result("uts-b", "fail"), a_result("uts-c", runtime="runc", outcome="skip"))
    text = terminal.render(results, Look(coloured=True))
    assert "\x1b[31m1/2 F" in text
    assert "\x1b[33m0/1 s\x1b[0m" in text
    assert text.startswith("\x1b[31mscenarios/uts.yaml:7: uts-b on builtin: fail (leak)\x1b[0m\n  claim: ")
    totals = text[text.index("pass   fail") :]
    assert re.search(r"^runc +0 +0 +0 +\x1b\[33m +1 *\x1b\[0m +0$", totals, re.MULTILINE)


def test_areas_alone_are_told_unless_all_is_asked_for() -> None:
    results = of_runtimes(2)
    assert "uts-pass" not in terminal.render(results)
    verbose = terminal.render(results, Look(verbosity=1))
    at = re.search(r"^  uts-pass +pass +pass\n    \[pod-security-restricted\] +pass +pass$", verbose, re.MULTILINE)
    assert at, verbose


def test_a_shape_without_the_check_itself_above_it_has_its_whole_name() -> None:
    results = some_results(a_result("uts-a", shape="userns"), a_result("uts-b"), a_result("uts-b", shape="userns"))
    text = terminal.render(results, Look(verbosity=1))
    assert re.search(r"^  uts-a\[userns\] +pass +-\n  uts-b +pass +-\n    \[userns\] +pass +-$", text, re.MULTILINE)


def test_what_is_the_same_is_told_once_and_the_worst_last() -> None:
    same = [a_result(f"uts-{number}", "skip", reason="same") for number in range(40)]
    many = [a_result(f"net-{number}", "skip", reason=f"reason {number}") for number in range(40)]
    red = [
        a_result("fs-a", "fail", severity="escape"),
        a_result("fs-b", "fail", severity="escape"),
        *(a_result(f"pid-{number}", "error", reason="the container did not run") for number in range(30)),
    ]
    results = some_results(*many, *same, *red)  # the commonest is not the first
    text = written(terminal.lines(results))
    assert text.count("same") == 1
    assert "skip on builtin, 40 x: same\n" in text
    assert "skip, 36 x more, for 36 other reasons: -v tells them\n" in text
    told = ["skip on builtin", "error on builtin, 30 x: the container did not run", "fail on builtin, 2 x: escape: "]
    assert [text.index(each) for each in told] == sorted(text.index(each) for each in told)
    assert re.search(r"^  pid-0, pid-1, .* and \d+ more$", text, re.MULTILINE)
    assert f"escape: {SEVERITIES['escape']}" in " ".join(text.split())
    verbose = written(terminal.lines(results, verbosity=1))
    assert all(f"reason {number}\n  net-{number}\n" in verbose for number in range(40))
    quiet = written(terminal.lines(results, verbosity=-1))
    assert quiet.splitlines()[-2].startswith("runc ")  # the totals, as a table
    assert "skip on" not in quiet
    assert "error on builtin, 30 x" in quiet


def test_a_reason_is_told_once_for_all_runtimes_that_have_it() -> None:
    results = some_results(*(a_result("uts-a", "skip", runtime=name, reason="same") for name in ("builtin", "runc")))
    assert "skip on builtin, runc, 2 x: same\n  uts-a\n" in terminal.render(results, Look(verbosity=1))
    many = [a_result("uts-a", "skip", runtime=f"runtime-{number}", reason="same") for number in range(25)]
    assert "skip on runtime-0, runtime-1 and 23 more, 25 x: same\n" in terminal.render(some_results(*many))


def test_twice_quiet_leaves_failures_and_a_line_of_totals() -> None:
    assert written(terminal.lines(some_results(a_result(), *_one_of_each()), verbosity=-2)).splitlines() == [
        "unproven on builtin, 1 x: it did not go red",
        "  uts-tame (a)",
        "error on builtin, 1 x:",
        "  uts-error",
        "fail on builtin, 1 x: leak: tells about the host or a neighbour",
        "  uts-fail",
        "",
        "builtin: 3 pass, 1 fail, 1 error, 1 skip, 1 xfail",
        "runc: nothing was made",
    ]


def test_the_terminal_tells_where_the_time_went() -> None:
    results = some_results(a_result())
    results.timing = some_timing()
    assert "time 41.0 s: sandboxes 30.0, probes 6.1, start 4.5, others 0.4; proofs 34.0\n" in terminal.render(results)
    assert "time 41" not in terminal.render(results, Look(verbosity=-1))
    results.timing = some_timing(processes=2, proofs={})
    assert re.search(r"^time 41\.0 s: .*; 2 processes$", terminal.render(results), re.MULTILINE)


def test_a_missing_runtime_says_what_is_missing() -> None:
    results = some_results(a_result("uts-a", "skip", reason="not here"))
    results.runtimes = [Runtime("builtin", "0.1.0"), Runtime("runc", "", "runc is not installed")]
    assert "\x1b[31mrunc is missing: runc is not installed\x1b[0m\nwith builtin 0.1.0\n" in terminal.render(
        results, Look(coloured=True)
    )


def test_columns_that_do_not_fit_stand_below() -> None:
    text = terminal.render(of_runtimes(25))
    headings = [line for line in text.splitlines() if line.startswith(" " * 20) and "runtime-" in line]
    assert [name for line in headings for name in line.split()][-20:] == [f"runtime-{number}" for number in range(20)]
    assert len(re.findall(r"^resource-exhaustion ", text, re.MULTILINE)) == 5


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (20, "one, two, three"),
        (15, "one, two, three"),
        (14, "one and 2 more"),
        (13, "one and 2 mo…"),
        (80, "one, two, three"),
    ],
)
def test_of_many_names_those_are_told_that_fit(width: int, text: str) -> None:
    assert enumerated(["one", "two", "three"], width) == text
    assert enumerated([], width) == ""


def test_a_table_without_rows_or_columns_is_one() -> None:
    assert written(table([], [], 80)) == ""
    assert written(table(["a"], [], 80)) == "  a\n\n"


def test_a_failure_explains_itself() -> None:
    text = terminal.failure(a_result(outcome="fail", failures=[a_failure()]), ENVIRONMENT)
    assert text.splitlines() == [
        "scenarios/uts.yaml:7: uts-a on builtin: fail (leak)",
        "  claim: The hostname is its own",
        "  scenarios/uts.yaml:9: inside.identity.hostname != host.identity.hostname",
        "      inside.identity.hostname = 'host'",
        "      host.identity.hostname = 'host'",
        f"  on: {environment.one_line(ENVIRONMENT)}",
        "  again: pytest 'scenarios/uts.yaml::uts-a[builtin]'",
    ]


def test_the_command_that_repeats_a_check_is_one_command_whatever_its_words_are() -> None:
    """Results may come from elsewhere, and the command is there to be copied to a shell."""
    evil = "a'; touch 'b $(touch c) `d`"
    facts = {**ENVIRONMENT, "command": ["isoproof", evil], "image": {"path": evil, "digest": ""}}
    result = a_result(evil, path=evil, runtime=evil, shape=evil)
    item = f"{evil}::{terminal.item(result, evil)}"
    expected = ["isoproof", evil, item, "--runtime", evil, "--prove", "--rootfs", evil]
    assert shlex.split(terminal.again(result, facts, evil)) == expected
    last = terminal.imprecision("", "knob", evil, 1, facts).rpartition("again: ")[2]
    assert shlex.split(last) == ["isoproof", evil, evil, "--precision=compare"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "variables", "on_a_terminal", "in_a_pipe"),
    [
        ("auto", {}, True, False),
        ("yes", {"NO_COLOR": "1"}, True, True),
        ("no", {"FORCE_COLOR": "1"}, False, False),
        ("auto", {"NO_COLOR": "1"}, False, False),
        ("auto", {"NO_COLOR": ""}, True, False),
        ("auto", {"FORCE_COLOR": "1"}, True, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ("auto", {"TERM": "dumb"}, False, False),
        ("auto", {"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ("auto", {"PY_COLORS": "0", "FORCE_COLOR": "1"}, False, False),
        ("auto", {"PY_COLORS": "1", "NO_COLOR": "1"}, True, True),
    ],
)
def test_colours_follow_the_rules_of_pytest(
    monkeypatch: pytest.MonkeyPatch, choice: str, variables: dict[str, str], on_a_terminal: bool, in_a_pipe: bool
) -> None:
    for name in ("PY_COLORS", "NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert look(Terminal(), choice).coloured is on_a_terminal
    assert look(io.StringIO(), choice).coloured is in_a_pipe


@pytest.mark.parametrize(("columns", "width"), [("200", 200), ("40", 40), ("39", 80), ("0", 80)])
def test_a_width_that_cannot_be_is_not_believed(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert look(io.StringIO()).width == width


HOSTILE = "\x1b[2J\x1b]52;c;eA==\a\x9b31m\u202e<script>\n::error::x\ud800\x00"


def test_nothing_in_a_list_of_results_acts_on_the_terminal() -> None:
    result = a_result(HOSTILE, "fail", area=HOSTILE, runtime="builtin", claim=HOSTILE, reason=HOSTILE, path=HOSTILE)
    result.failures = [a_failure(HOSTILE)]
    result.proofs = [Proof(HOSTILE, "unproven", HOSTILE)]
    results = some_results(result, a_result("b", "skip", reason=HOSTILE, shape=HOSTILE))
    results.runtimes = [Runtime("builtin", HOSTILE), Runtime("runc", "", HOSTILE)]
    results.environment = {**ENVIRONMENT, "release": HOSTILE, "image": {"path": HOSTILE, "digest": HOSTILE}}
    for verbosity in (-2, -1, 0, 1):
        text = terminal.render(results, Look(verbosity=verbosity, coloured=True))
        assert all(line.isprintable() for line in COLOUR.sub("", text).split("\n"))
        assert not any(line.startswith("::") for line in text.split("\n"))
