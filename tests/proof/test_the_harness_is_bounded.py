"""What a container does to the one who watches it: floods of output, and silence at the wrong moment."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import host, observation
from harness.backends import Config, Exit, Streams
from harness.runtime.spec import example

MEBIBYTE = 1 << 20
FLOOD = 64 * MEBIBYTE
PATIENCE = 10.0  # seconds until a test that hangs is a failure
LINES = {
    "no newline": b"x" * (1 << 16),
    "newlines": b"\n" * (1 << 16),
    "binary": bytes(range(256)) * (1 << 8),
    "terminal sequences": b"\x1b[2J\x1b]0;" * (1 << 13),
}


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """What would wait for ever fails."""

    def late(*_: object) -> None:
        pytest.fail("it hangs", pytrace=False)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


Behave = Callable[[Streams], None]


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Behave, float], host.Run]:
    """A run whose container is a function with three streams, in the process of the launcher."""

    def make(behave: Behave, deadline: float) -> host.Run:
        class Backend:
            @staticmethod
            def run(config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
                behave(io)
                return Exit(0)

        monkeypatch.setattr(host, "served", lambda _name: Backend)
        monkeypatch.setattr(host.Run, "_observe", lambda _run, _wanted: {})  # there is no kit outside of a sandbox
        request: dict[str, Any] = {"runtime": "runc", "inside": {"waiting": {"probe": "wait"}}, "deadline": deadline}
        return host.Run(request)

    return make


def growth(action: Callable[[], object]) -> int:
    """By how many bytes of memory this process has grown at most during an action (proc_pid_status(5), VmHWM)."""

    def kilobytes(field: str) -> int:
        return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0])

    Path("/proc/self/clear_refs").write_text("5")  # the peak is what it is now
    before = kilobytes("VmRSS")
    action()
    return (kilobytes("VmHWM") - before) << 10


def flood(stream: int, block: bytes, size: int = FLOOD) -> Behave:
    def behave(io: Streams) -> None:
        for _ in range(size // len(block)):
            os.write(io[stream], block)

    return behave


@pytest.mark.parametrize("block", LINES.values(), ids=LINES)
def test_a_flood_of_output_takes_no_memory_and_is_no_observation(
    run_of: Callable[[Behave, float], host.Run], block: bytes
) -> None:
    """rex-output-flood: the run goes on to its end, and what came is an error that says so."""
    run = run_of(flood(1, block), 10.0)
    assert growth(lambda: run._launch(example(0, 0))) < FLOOD // 4
    seen = run.collector.finish()
    assert all("the container wrote" in seen[name]["error"] for name in ("init", "waiting"))


def test_the_same_flood_would_be_noticed_without_a_bound(
    run_of: Callable[[Behave, float], host.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """rex-output-flood: the sabotage, unbounded-capture."""
    for bound in ("MAX_TOTAL", "MAX_LINE"):
        monkeypatch.setattr(observation, bound, 1 << 40)
    run = run_of(flood(1, LINES["no newline"]), 10.0)
    assert growth(lambda: run._launch(example(0, 0))) >= FLOOD


def test_a_flood_of_complaints_is_cut_and_says_so(run_of: Callable[[Behave, float], host.Run]) -> None:
    """rex-output-flood: what is kept of standard error is its beginning."""
    run = run_of(flood(2, LINES["binary"]), 10.0)
    assert growth(lambda: run._launch(example(0, 0))) < FLOOD // 4
    kept, _, marker = run.stderr.rpartition("\n")
    assert kept == LINES["binary"][: host.STDERR_LIMIT].decode(errors="backslashreplace")
    assert marker == "(there was more than 16 KiB of this)"


def test_an_endless_flood_ends_at_the_deadline(run_of: Callable[[Behave, float], host.Run]) -> None:
    """rex-output-flood, rex-wall-clock."""

    def behave(io: Streams) -> None:
        while True:
            os.write(io[1], LINES["newlines"])

    run = run_of(behave, 0.2)
    assert run._launch(example(0, 0)).status == 125
    assert "the container wrote" in run.collector.finish()["init"]["error"]


def test_a_container_that_has_filled_its_own_input_holds_nobody_up(run_of: Callable[[Behave, float], host.Run]) -> None:
    """rex-wall-clock: a pipe can be opened for writing by whoever reads it, and the host's answer finds no room."""

    def behave(io: Streams) -> None:
        other_end = os.open(f"/proc/self/fd/{io[0]}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(other_end, b"x" * 4096)
        except BlockingIOError:
            pass
        for name, kind in (("init", "facts"), ("waiting", "ready")):
            os.write(io[1], json.dumps({"nonce": run.nonce, "name": name, "probe": "wait", kind: {}}).encode() + b"\n")
        signal.pause()

    run = run_of(behave, 0.2)
    assert run._launch(example(0, 0)).status == 125
    seen = run.collector.finish()
    assert "facts" in seen["init"]
    assert seen["waiting"]["error"] == "the probe was ready and reported nothing after it"
