"""The progress line: live on a terminal, now and then in a log."""

import io

import pytest

from harness.bench.progress import LineBelow, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    log, now = io.StringIO(), [0.0]
    tell = Progress(log, lambda: now[0])
    for second in range(25):
        now[0] = second
        tell(f"round {second}")
    tell.close()
    assert log.getvalue() == "   0 s  round 0\n  10 s  round 10\n  20 s  round 20\n"


def test_a_terminal_has_one_line_that_is_gone_in_the_end() -> None:
    terminal, now = Terminal(), [0.0]
    tell = Progress(terminal, lambda: now[0])
    tell("round 1")
    tell("round 2")  # too soon to be read
    now[0] = 1
    tell("round 3")
    tell.close()
    assert terminal.getvalue() == "\r\x1b[K   0 s  round 1\r\x1b[K   1 s  round 3\r\x1b[K"


def test_the_line_below_another_ones_is_away_when_he_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    terminal, now = Terminal(), [7.0]
    tell = LineBelow(terminal, lambda: now[0])
    tell.close()
    assert terminal.getvalue() == ""
    tell("a check")
    tell("one that comes at once")  # and may take long
    tell.close()
    tell.close()
    begin, end = "\x1bD\x1bM\x1b7\x1b[B\r\x1b[K\x1b[?7l", "\x1b[?7h\x1b8"
    told = [f"{begin}   0 s  {text}{end}" for text in ("a check", "one that comes at on…")]
    assert terminal.getvalue() == "".join(told) + "\x1b7\x1b[B\r\x1b[K\x1b8"
