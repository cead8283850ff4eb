"""How far a long work is: one live line on a terminal, in a log a line every ten seconds."""

import shutil
import time
from collections.abc import Callable
from typing import TextIO

Tell = Callable[[str], None]
EVERY = 10.0  # seconds between two lines of a log
LIVE = 0.1  # seconds between two changes of the live line

# console_codes(4): there is a line below the cursor, also at the end of the screen; the cursor is kept and put back;
# what is wider than it looks is cut at the edge.
ROOM = "\x1bD\x1bM"
KEEP, BACK = "\x1b7", "\x1b8"
DOWN, ERASE = "\x1b[B\r", "\x1b[K"
CUT, UNCUT = "\x1b[?7l", "\x1b[?7h"


class Progress:
    """Tells a person that somebody is still at work, and never keeps a benchmark from working.

    It is told from between two starts, by whoever makes them: a thread of its own would disturb what is measured.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._clock = clock
        self._begun = clock()
        self._last = float("-inf")

    def __call__(self, text: str) -> None:
        """Say what is being done now, if it is time to say something."""
        now = self._clock()
        if now - self._last < (LIVE if self._live else EVERY):
            return
        self._last = now
        self._show(f"{now - self._begun:4.0f} s  {text}")

    def close(self) -> None:
        """Leave the line to others."""
        self._write("\r\x1b[K" if self._live else "")

    def _show(self, line: str) -> None:
        self._write(f"\r\x1b[K{line}" if self._live else f"{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class LineBelow(Progress):
    """The live line on a terminal where somebody else is writing: it is below his, and gone before he goes on.

    The cursor stays where it is. What does not fit is cut, for a second line would scroll his away.
    """

    _shown = False

    def __call__(self, text: str) -> None:
        """Say what is being done now; always, for it may take long."""
        self._last = float("-inf")
        super().__call__(text)

    def close(self) -> None:
        """Take the line away; it comes back when there is something to say."""
        if self._shown:
            self._write(f"{KEEP}{DOWN}{ERASE}{BACK}")
        self._shown = False

    def _show(self, line: str) -> None:
        columns = shutil.get_terminal_size().columns
        line = line if len(line) < columns else f"{line[: columns - 2]}…"
        self._write(f"{ROOM}{KEEP}{DOWN}{ERASE}{CUT}{line}{UNCUT}{BACK}")
        self._shown = True
