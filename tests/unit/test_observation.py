"""The wire format: what counts as an observation, and what every kind of misbehaviour is told as."""

import json
import sys
from typing import Any

import pytest

from harness.observation import MAX_LINE, MAX_TOTAL, Collector, Ready, escaped

NONCE = "0123456789abcdef0123456789abcdef"


def line(name: str, kind: str = "facts", content: Any = None, nonce: str = NONCE, **more: Any) -> bytes:
    content = {"pid": 1} if content is None else content
    return json.dumps({"nonce": nonce, "name": name, "probe": name, kind: content, **more}).encode() + b"\n"


INIT = line("init")


def collected(data: bytes, *expected: str, handshakes: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    collector = Collector(NONCE, expected, handshakes)
    collector.feed(data)
    return collector.finish()


def test_facts_and_errors() -> None:
    data = (
        INIT
        + line("a", content={"x": [1, None, 1.5, "é", {"y": False}]})
        + line("b", "error", "it was killed by SIGSYS")
    )
    assert collected(data, "a", "b") == {
        "init": {"facts": {"pid": 1}},
        "a": {"facts": {"x": [1, None, 1.5, "é", {"y": False}]}},
        "b": {"error": "it was killed by SIGSYS"},
    }


def test_init_may_be_named_and_is_expected_anyway() -> None:
    assert collected(INIT, "init") == {"init": {"facts": {"pid": 1}}}
    assert collected(b"") == {"init": {"error": "the probe reported nothing"}}


def test_bytes_may_arrive_in_any_pieces() -> None:
    data = INIT + line("a", "ready", {"port": 7}) + line("a", content={"x": "é" * 10})
    collector = Collector(NONCE, ["a"], ["a"])
    ready = [ready for index in range(len(data)) for ready in collector.feed(data[index : index + 1])]
    assert ready == [Ready("a", {"port": 7})]
    assert collector.finish() == {"init": {"facts": {"pid": 1}}, "a": {"facts": {"x": "é" * 10}}}


def test_undecodable_file_names_are_facts() -> None:
    # os.fsdecode gives lone surrogates, and json carries them.
    assert collected(INIT + line("a", content={"name": "\udcff"}), "a")["a"] == {"facts": {"name": "\udcff"}}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the probe reported nothing"),
        (line("a") + line("a"), "the probe reported twice"),
        (line("a") + line("a", "error", "x"), "the probe reported twice"),
        (line("a", "error", "x") + line("a"), "the probe reported twice"),
        (line("a") + line("a", "ready"), "the probe reported twice"),
        (line("a", "ready"), "the probe was ready and reported nothing after it"),
        (line("a", "ready") + line("a", "ready"), "the probe was ready twice"),
        (line("a", "ready") + line("a", "ready") + line("a"), "the probe reported twice"),
        (line("a")[:-1], "the probe reported nothing; the output ends in the middle of a line"),
        (line("a")[:20], "the probe reported nothing; the output ends in the middle of a line"),
        (line("a", "error", "\x1b[2J" + "x" * 1000), "\\x1b[2J" + "x" * 496 + "… (1004 characters)"),
    ],
)
def test_a_fault_of_one_observation_spoils_that_one(data: bytes, error: str) -> None:
    answer = collected(INIT + line("b") + data, "a", "b")
    assert answer == {"init": {"facts": {"pid": 1}}, "a": {"error": error}, "b": {"facts": {"pid": 1}}}


def test_a_probe_must_wait_for_its_canary() -> None:
    answer = collected(INIT + line("a"), "a", handshakes=("a",))
    assert answer["a"] == {"error": "the probe did not wait for the host"}
    assert collected(INIT + line("a", "ready") + line("a"), "a")["a"] == {"facts": {"pid": 1}}


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"garbage\n", "a line that is not JSON: 'garbage'"),
        (b"\n", "a line that is not JSON: ''"),
        (b"\x1b]0;x\x07\n", "a line that is not JSON: '\\\\x1b]0;x\\\\x07'"),
        (b"[" * 100_000 + b"\n", "a line that is not JSON: '" + "[" * 80 + "… (100000 characters)'"),
        (b"\xff\xfe\n", "a line that is not UTF-8: b'\\xff\\xfe'"),
        (b"[1]\n", "a line that is not a JSON object: '[1]'"),
        (b"1\n", "a line that is not a JSON object: '1'"),
        (b"{}\n", "a line that does not bear the nonce of this run"),
        (line("a", nonce="f" * 32), "a line that does not bear the nonce of this run"),
        (line("a", nonce=""), "a line that does not bear the nonce of this run"),
        (line("evil"), "an observation that was not asked for: 'evil'"),
        (line("\x1b[2J"), "an observation that was not asked for: '\\\\x1b[2J'"),
        (line("a", more=1), "a line with other keys than the protocol's: 'nonce, name, probe, facts, more'"),
        (line("a", error="x"), "a line with other keys than the protocol's: 'nonce, name, probe, facts, error'"),
        (line("a", "fact"), "a line with other keys than the protocol's: 'nonce, name, probe, fact'"),
        (line("a", probe=1), "a line with other keys than the protocol's: 'nonce, name, probe, facts'"),
        (line("a", content=[1]), "a line whose facts is no object"),
        (line("a", "ready", "x"), "a line whose ready is no object"),
        (line("a", "error", {"x": 1}), "a line whose error is no text"),
        (line("a").replace(b'"pid": 1', b'"pid": NaN'), "NaN, which is no JSON: "),
        (line("a").replace(b'"pid": 1', b'"pid": -Infinity'), "-Infinity, which is no JSON: "),
        (line("a").replace(b'"pid": 1', b'"pid": 1e999'), "a number that is not finite: "),
        (line("a").replace(b'"pid": 1', b'"pid": ' + b"9" * 41), "a number of more than 40 digits: "),
        (line("a").replace(b'"pid": 1', b'"pid": 1, "pid": 2'), "an object with a key twice: "),
        (line("a").replace(b'"facts"', b'"name": "b", "facts"'), "an object with a key twice: "),
        (line("a").replace(b": 1", b":" + b"[" * 40 + b"]" * 40), "a line nested deeper than 32 levels"),
        (line("a").replace(b": 1", b":" + b"[" * 99_999 + b"]" * 99_999), "a line that is not JSON: "),
        (line("a", content={"x": "y" * MAX_LINE}), "a line longer than 256 KiB"),
        (line("a")[:-1] + line("b"), "a line that is not JSON: "),
        (line("a") * 2 + b"x" * (MAX_LINE + 1), "a line longer than 256 KiB"),
        (line("a") * (MAX_TOTAL // len(line("a"))), "more than 4 MiB"),
        (b"x\n" * (MAX_TOTAL // 2), "a line that is not JSON: 'x'"),
    ],
)
def test_a_line_of_nobody_spoils_all(data: bytes, what: str) -> None:
    answer = collected(INIT + line("b") + data, "a", "b")
    assert set(answer) == {"init", "a", "b"}
    assert len({str(observation) for observation in answer.values()}) == 1
    assert str(answer["b"]["error"]).startswith(f"the container wrote {what}")
    assert str(answer["b"]["error"]).isprintable()


def test_the_first_line_must_be_inits() -> None:
    answer = collected(line("a") + INIT, "a")
    assert answer["a"] == {"error": "the container wrote the observation 'a' before the one of init"}


def test_nothing_may_follow_the_last_observation() -> None:
    answer = collected(INIT + line("a") + b"x", "a")
    assert answer["a"] == {"error": "the container wrote more after the last observation"}


def test_no_handshake_after_a_stray_line() -> None:
    collector = Collector(NONCE, ["a"])
    assert collector.feed(INIT + b"x\n" + line("a", "ready")) == []
    assert collector.feed(line("a", "ready")) == []


def test_what_is_kept_is_bounded() -> None:
    collector = Collector(NONCE, ["a"])
    for _ in range(100):
        collector.feed(b"x" * MAX_LINE)
    assert len(collector.line) == 0
    assert collector.finish()["a"] == {"error": "the container wrote a line longer than 256 KiB"}


def test_escaped() -> None:
    assert escaped("aé\x1b\n\u202e\ud800") == "aé\\x1b\\n\\u202e\\ud800"
    assert escaped("x" * 10, 4) == "xxxx… (10 characters)"


def test_reads_with_the_standard_library_alone() -> None:
    import subprocess

    code = (
        "import sys, harness.observation; print(*sorted(m for m in sys.modules if m in ('msgspec', 'yaml', 'pytest')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
