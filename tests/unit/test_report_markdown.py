"""Markdown for pull requests and job summaries: the answer first, never too long, and nothing in it acts."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from harness.report import markdown
from harness.results import LONGEST_TEXT, About, Area, Failure, Proof, Result, Results
from harness.timing import Timing
from tests.unit.test_results import HOSTILE, a_failure, a_result, some_results, some_timing

MANY = 300
LIMIT = 1024 * 1024  # of a job summary, in bytes; GitHub refuses all of one that is longer


def answer(*results: Result) -> list[str]:
    """What is said before the first table."""
    text = markdown.render(some_results(*results)).removeprefix("# Isolation\n\n")
    return text.partition("\n\n")[0].split("\\\n")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([a_result(), a_result("uts-b")], ["✅ **All 2 checks hold.**"]),
        (
            [a_result(), a_result("uts-b", outcome="xfail"), a_result("uts-c", outcome="skip")],
            ["1 of 2 checks hold.", "1 do not, as is known of these runtimes."],
        ),
        (
            [a_result(outcome="fail"), a_result("uts-b", outcome="fail", severity="escape"), a_result("uts-c")],
            ["❌ **2 of 3 checks do not hold, which was not known: 1 escape, 1 leak.**", "1 of 3 checks hold."],
        ),
        (
            [a_result(outcome="error"), a_result(runtime="runc")],
            [
                "⚠️ **1 of 2 could not be judged: nothing is said of them.**",
                "1 of 2 checks hold.",
                "All that was asked of it holds on runc.",
            ],
        ),
        ([a_result(outcome="skip")], []),
    ],
)
def test_the_answer_stands_first(results: list[Result], said: list[str]) -> None:
    *lines, proven = answer(*results)
    assert lines == said
    assert proven.startswith("Nothing was proven: ")


def test_the_answer_says_how_much_is_proven() -> None:
    results = [
        a_result("a", proofs=[Proof("k", "proven")]),
        a_result("b", proofs=[Proof("k", "skip", "no such thing")]),
        a_result("c", proofs=[Proof("k", "unproven", "stays green")]),
    ]
    assert answer(*results)[-1] == (
        "1 of 3 are proven: their isolation was broken on purpose, and they noticed. "
        "Of 1 it cannot be shown on this machine. **Not proven: 1.**"
    )


def test_what_is_broken_comes_next_and_the_worst_of_it_first() -> None:
    results = [
        a_result("a", "error", severity="escape"),
        a_result("b", "fail", severity="hygiene"),
        a_result("c", "fail", severity="escape"),
        a_result("d"),
    ]
    text = markdown.render(some_results(*results))
    assert re.findall(r"^##+ (.*)$", text, re.MULTILINE) == [
        "What is broken",
        "c on builtin: fail",
        "b on builtin: fail",
        "a on builtin: error",
        "Areas",
    ]
    assert text.index("## Areas") < text.index("<details>")
    assert "What does not hold" not in text  # again


def test_areas_are_folded_with_what_they_are_about() -> None:
    about = About(why="", expect=[], sabotages={}, see=[], also=[])
    results = replace(
        some_results(a_result(), a_result("uts-b", "skip")),
        catalogue={"uts": Area("<b> its_own @all ##[a]", "", {"uts-a": about, "uts-b": about})},
    )
    text = markdown.render(results)
    # No Markdown is read in a summary: backslashes would be seen.
    assert "<details><summary>uts, &lt;b&gt; its_own &#64;all #\\x23[a]: 1 pass, 1 skip</summary>\n\n| check |" in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_container_says_is_no_markdown(hostile: str) -> None:
    failing = a_result(outcome="fail", reason=hostile, failures=[a_failure(hostile)])
    plain = a_result(outcome="fail", reason="x", failures=[a_failure("x")])
    text, shape = (markdown.render(some_results(result)) for result in (failing, plain))
    assert len(text.splitlines()) == len(shape.splitlines())
    unescaped = re.sub(r"\\.", "", text)
    for active in ("](", "<script", "`", "**bold", "@", "://", "::", " www.", "\x1b"):
        assert active not in unescaped
    assert len(re.findall(r"(?<!\\)\|", text)) == len(re.findall(r"(?<!\\)\|", shape))
    assert text.count("<") == shape.count("<")


def folded_whole(text: str) -> bool:
    """Whether each thing that is unfolded ends, and each table has its heading and is followed by an empty line."""
    lines = text.splitlines()
    rows = [line.startswith("|") for line in lines]
    begun = [number for number, row in enumerate(rows) if row and not rows[number - 1]]
    return (
        text.count("<details>") == text.count("</details>") == text.count("<summary>") == text.count("</summary>")
        and all(lines[number + 1].startswith("| --- |") for number in begun)
        and all(not lines[number + 1] for number, row in enumerate(rows[:-1]) if row and not rows[number + 1])
    )


def huge(outcome: Any, text: str) -> Results:
    """Many findings or reasons of some areas, each with a text of its own."""
    results = [
        a_result(
            f"uts-{number}",
            outcome,
            area=f"area-{number % 7}",
            reason=f"{number} {text}",
            failures=[Failure("a == b", "s.yaml", 1, [("a", text)])] if outcome == "fail" else [],
        )
        for number in range(MANY)
    ]
    return replace(some_results(*results), timing=some_timing())


@pytest.mark.parametrize("outcome", ["fail", "error", "skip", "xfail", "pass"])
@pytest.mark.parametrize("largest", [markdown.LARGEST, 60_000, 2_000])
def test_markdown_is_never_too_long_and_never_cut_within(outcome: Any, largest: int) -> None:
    text = markdown.render(huge(outcome, "é|<" * (LONGEST_TEXT // 3)), largest)
    assert len(text.encode()) <= largest < LIMIT
    assert folded_whole(text)
    assert text.startswith("# Isolation\n")


def test_that_something_was_left_out_makes_it_no_longer_than_it_may_be() -> None:
    results = huge("skip", "x" * 20)
    for largest in range(2_000, 12_000, 97):
        assert len(markdown.render(results, largest).encode()) <= largest


def test_what_was_left_out_is_counted() -> None:
    text = markdown.render(huge("fail", "x" * LONGEST_TEXT), 30_000)
    shown = len(re.findall(r"^### ", text, re.MULTILINE))
    assert shown > 2
    assert len(text.partition("## Areas")[0].encode()) < 20_000  # half of it is for findings
    left_out = "… left out here, for it would be too long: {}. isolation.json has all of it."
    assert left_out.format(f"{MANY - shown} x finding") in text.splitlines()
    assert "area" in markdown.render(huge("fail", ""), 20_000).splitlines()[-1]


def test_a_long_value_is_shortened_and_says_so() -> None:
    text = markdown.render(some_results(a_result(outcome="fail", failures=[a_failure("x" * 5000)])))
    assert f"{'x' * 1000}… (4000 more characters)" in text.replace("\\", "")


def test_times_are_folded_away() -> None:
    results = some_results(a_result())
    results.timing = Timing(1.0, {}, {}, {}, [])
    assert markdown.render(results).count("<details>") == 2
