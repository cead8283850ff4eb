"""The progress line: live on a terminal, now and then in a log."""

import io

from harness.bench.progress import Progress


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
