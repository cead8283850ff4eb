"""Whatever bytes come out of a container, or stand in a list of results: an error for each name, or what was said."""

import contextlib
import inspect
import io
import json
import tracemalloc
from itertools import pairwise
from types import FunctionType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import cli, declared, report
from harness.explanation import explain
from harness.expression import EvaluationError, evaluate
from harness.observation import MAX_LINE, MAX_TOTAL, Collector, NotAnObservation, parse_line
from harness.results import Proof, to_json
from tests.property.hostile import SCALARS, assert_lines, in_time, made_of, mutated
from tests.unit.test_results import a_failure, a_result, some_results

NONCE = "ab" * 16
NAMES = ["a", "b", "c"]
WAITING = ["b"]  # those that are to wait for the host
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PATIENCE = 20  # seconds for one stream, on a machine that is busy


def line(name: str, kind: str = "facts", nonce: str = NONCE, **content: Any) -> dict[str, Any]:
    return {"nonce": nonce, "name": name, "probe": "p", kind: content}


GOOD = [line("init"), line("a", x=[1, {"y": None}]), line("b", "ready"), line("b", z="\u2028"), line("c", w=1.5)]


def encoded(message: object) -> bytes:
    try:
        return json.dumps(message).encode() + b"\n"
    except ValueError:
        return b'{"deeper": than JSON can be written\n'


BYTES = st.sampled_from(
    [
        *(b"", b"\n", b"\r\n", b"{}", b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\x00", b"NaN\n", b"\xef\xbb\xbf"),
        *(b"1" * 5000 + b"\n", b"-" * 10, b'"\\ud800"\n', b"x" * (MAX_LINE + 1), b"\n" * 5000, b"\x1b[2J", b"{" * 20),
        encoded(line("a", x=1)).replace(b"1", b"1e999"),
        encoded(line("a", x=1)).replace(b"1", b"9" * 41),
        encoded(line("a", x=1)).replace(b"1", b"[" * 40 + b"]" * 40),
        encoded(line("a", x=1)).replace(b'"x": 1', b'"x": 1, "x": 1'),
        encoded(line("a", x="y" * MAX_LINE)),
        encoded(line("a", nonce="cd" * 16)),
        encoded(line("z")),
        encoded(line("a", "error")),
    ]
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """What a good container writes, and what somebody else puts between, takes out, turns round or changes."""
    messages = draw(st.just(GOOD) | st.permutations(GOOD) | mutated(st.just(GOOD), most=2))
    pieces = [encoded(message) for message in messages]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(pieces)))
        match draw(st.sampled_from(["insert", "double", "cut", "flip"])) if pieces else "insert":
            case "insert":
                pieces.insert(at, draw(BYTES | st.binary(max_size=20)))
            case "double":
                pieces.insert(at, pieces[at - 1])
            case "cut":
                pieces[at - 1] = pieces[at - 1][: draw(st.integers(0, 60))]
            case "flip":
                place = draw(st.integers(0, 100))
                pieces[at - 1] = pieces[at - 1][:place] + draw(st.binary(max_size=2)) + pieces[at - 1][place + 1 :]
    return b"".join(pieces)


CUTS = st.lists(st.integers(0, 10**9), max_size=6)


def fed(data: bytes, cuts: list[int]) -> tuple[dict[str, Any], list[str]]:
    """The outcome of a stream that arrives in pieces, and which probes were let go on."""
    collector = Collector(NONCE, NAMES, WAITING)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    waiting = [ready.name for begin, end in pairwise(places) for ready in collector.feed(data[begin:end])]
    return collector.finish(), waiting


@given(streams(), CUTS)
@example(b"".join(map(encoded, GOOD)), [1, 50])
@example(b"x\n" + b"\n" * MAX_TOTAL, [5])
@example(encoded(GOOD[0]) * (MAX_TOTAL // len(encoded(GOOD[0])) + 1), [300, 10**9])
@example(encoded(GOOD[0]) * (MAX_TOTAL // len(encoded(GOOD[0])) + 1) + b"x\n", [-3])
@example(b"x" * (MAX_LINE + 1) + b"\n", [MAX_LINE])
def test_any_stream_has_one_outcome_wherever_it_is_cut(data: bytes, cuts: list[int]) -> None:
    with in_time(PATIENCE):
        assert_one_outcome(data, cuts)


def assert_one_outcome(data: bytes, cuts: list[int]) -> None:
    """Each name has its own error, or the facts that its probe has said in the one line about it."""
    answer, waiting = fed(data, cuts)
    assert answer == fed(data, [])[0]
    assert list(answer) == ["init", *NAMES]
    assert waiting in ([], ["a"], ["b"], ["c"]) or len(waiting) == len(set(waiting))
    for name, observation in answer.items():
        assert len(observation) == 1
        if "error" in observation:
            assert_lines(observation["error"])
        else:
            said = [piece for piece in data.split(b"\n") if _is_about(piece, name)]
            assert len(said) == (2 if b'"ready"' in b"".join(said) else 1)
            assert json.loads(said[-1])["facts"] == observation["facts"]
            assert json.loads(said[-1])["nonce"] == NONCE


def _is_about(piece: bytes, name: str) -> bool:
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(piece)
        return isinstance(message, dict) and message.get("name") == name
    return False


@settings(max_examples=5)
@given(st.sampled_from([b"x", b"\n", b"[", b"{}\n", b'{"a":', encoded(line("a", x="y" * 1000))]), st.booleans())
def test_memory_is_bounded_however_much_is_written(piece: bytes, init: bool) -> None:
    collector = Collector(NONCE, NAMES)
    many = piece * ((1 << 16) // len(piece))
    tracemalloc.start()
    try:
        if init:
            collector.feed(encoded(GOOD[0]))
        for _ in range(2 * MAX_TOTAL // len(many)):
            collector.feed(many)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_TOTAL
    finally:
        tracemalloc.stop()


FUNCTIONS = [
    (name, len(inspect.signature(function).parameters))
    for name, function in vars(declared).items()
    if isinstance(function, FunctionType) and function.__module__ == declared.__name__ and name[0] != "_"
]


def _can_be_a_fact(value: object) -> bool:
    with contextlib.suppress(NotAnObservation):
        return bool(parse_line(encoded(line("a", x=value)), NONCE))
    return False


FACTS = made_of([value for value in SCALARS if _can_be_a_fact(value)])


@given(st.sampled_from(FUNCTIONS), st.lists(FACTS, min_size=5, max_size=5))
def test_what_expectations_call_says_why_facts_are_no_good(function: tuple[str, int], facts: list[Any]) -> None:
    name, count = function
    text = f"{name}({', '.join(f'inside[{index}]' for index in range(count))})"
    with in_time(PATIENCE):
        with contextlib.suppress(EvaluationError):
            evaluate(text, {"inside": facts})
        for source, value in explain(text, {"inside": facts}):
            assert_lines(f"{source}\n{value}")


RESULTS = json.loads(
    to_json(
        some_results(
            a_result(answers=[("inside.a", "1")], proofs=[Proof("skip-ns=uts", "proven")], command="runc run x"),
            a_result("uts-b", "fail", failures=[a_failure()], reason="it fails"),
            a_result("uts-b", "xfail", runtime="runc", shape="userns"),
            a_result("uts-c", "skip", reason="not here"),
        )
    )
) | {"reaches": [{"sabotage": "skip-ns=uts", "own": ["uts-a"], "red": ["uts-a", "uts-b"]}]}


@given(mutated(st.just(RESULTS)), st.sampled_from([*report.names(), "--matrix"]))
@example(RESULTS, "--matrix")
@example(RESULTS | {"format": "x" * 100_000}, "terminal")
@example(RESULTS | {"x" * 100_000: 1}, "--matrix")
def test_any_list_of_results_is_told_or_refused_with_one_line(
    tmp_path_factory: pytest.TempPathFactory, document: Any, form: str
) -> None:
    path = tmp_path_factory.mktemp("reports") / "isolation.json"
    path.write_bytes(encoded(document))
    said, told = io.StringIO(), io.StringIO()
    options = ["--matrix", "--reports", str(path.parent)] if form == "--matrix" else ["--format", form]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told), in_time(PATIENCE):
        status = cli.main(["report", str(path), *options])
    if status == 2:
        assert told.getvalue() == ""
        assert_lines(said.getvalue().removesuffix("\n"))
        assert said.getvalue().count("\n") == 1
    else:
        assert all(line.isprintable() for line in told.getvalue().split("\n")) or form != "terminal"
        told.getvalue().encode()  # a reader may be a file
