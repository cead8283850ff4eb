"""Starts that another process makes: what becomes of one that fails, hangs or dies, by stand-ins for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.bench import cells, contenders, orphans, own
from harness.bench.contenders import Place
from harness.bench.own import Served
from harness.errors import HarnessError

GOOD = "b'\\n' and os.write(1, struct.pack('=5Q', 100, 150, 180, 7, 9))"


class StandIn(Served):
    """A process that answers as a piece of Python tells it to; `asked` is what it was asked, `n` how often so far."""

    name = "stand-in"
    what = "a script"

    def __init__(self, place: Place, answer: str) -> None:
        super().__init__(place)
        program = f"import os, struct, sys, time\nn = 0\nwhile asked := os.read(0, 1):\n    n += 1\n    {answer}\n"
        self._serving = ["python3", "-S", "-c", program]

    def version(self) -> str:
        return "1"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], StandIn]]:
    monkeypatch.setattr(cells, "DEADLINE", 2.0)  # within which a busy machine starts an interpreter
    monkeypatch.setattr(own, "END", 0.1)
    with orphans.adopted(), contenders.place() as place:
        before = orphans.children()
        yield lambda answer: StandIn(place, answer)
        assert orphans.children() == before


def test_an_answer_is_a_round(stand_in: Callable[[str], StandIn]) -> None:
    contender = stand_in(f"asked == {GOOD}")
    with contender.ready():
        seen = [contender.start() for _ in range(3)]
    assert {(one.first, one.clean, one.cpu, one.memory) for one in seen} == {(50, 80, 7, 9)}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("os._exit(0)", "its process has ended without a word"),
        ("sys.exit('isoproof: no such thing')", "isoproof: no such thing"),
        ("time.sleep(1000)", "it has not ended in time"),
        ("os.fork(); time.sleep(1000)", "it has not ended in time"),
        ("os.write(1, b'half'); os._exit(0)", "its process has ended without a word"),
        ("os.write(1, struct.pack('=5Q', 100, 0, 180, 7, 9))", "the clock inside has told no time"),
    ],
)
def test_one_that_fails_says_why(stand_in: Callable[[str], StandIn], answer: str, reason: str) -> None:
    contender = stand_in(answer)
    with contender.ready():
        for _ in range(2):
            with pytest.raises(HarnessError, match=reason):
                contender.start()


def test_after_a_failure_another_process_serves(stand_in: Callable[[str], StandIn], tmp_path: Path) -> None:
    once = (
        f"os.path.exists({str(tmp_path / 'failed')!r}) or (open({str(tmp_path / 'failed')!r}, 'w'), sys.exit('once'))"
    )
    contender = stand_in(f"{once}; asked == {GOOD}")
    with contender.ready():
        with pytest.raises(HarnessError, match="once"):
            contender.start()
        assert contender.start().first == 50
