"""How far the benchmark is: one live line on a terminal, in a log a line every ten seconds."""

import time
from collections.abc import Callable
from typing import TextIO

Tell = Callable[[str], None]
EVERY = 10.0  # seconds between two lines of a log
LIVE = 0.1  # seconds between two changes of the live line


class Progress:
    """Tells a person that it is still at work, and never keeps the benchmark from working.

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
        line = f"{now - self._begun:4.0f} s  {text}"
        self._write(f"\r\x1b[K{line}" if self._live else f"{line}\n")

    def close(self) -> None:
        """Leave the line to others."""
        self._write("\r\x1b[K" if self._live else "")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
