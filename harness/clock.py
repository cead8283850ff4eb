"""A clock that counts for one thing at a time, so that what it has counted sums to the time that has passed.

Imports only the standard library: the host role has one, too.
"""

import contextlib
import time
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

Part = TypeVar("Part", bound=Hashable)


class Clock(Generic[Part]):
    """Counts the time from when it is made, or from `since` (of time.monotonic), at first for `part`."""

    def __init__(self, part: Part, since: float | None = None) -> None:
        self.current = part
        self._turned = time.monotonic() if since is None else since
        self._seconds: dict[Part, float] = {}

    def turn(self, part: Part) -> None:
        """Count for another part from now on."""
        now = time.monotonic()
        self._seconds[self.current] = self._seconds.get(self.current, 0.0) + now - self._turned
        self.current, self._turned = part, now

    @contextlib.contextmanager
    def counting(self, part: Part) -> Iterator[None]:
        """Count for a part while the context lasts, and then again for the one before."""
        before = self.current
        self.turn(part)
        try:
            yield
        finally:
            self.turn(before)

    def hand_over(self, part: Part, milliseconds: Mapping[Part, float]) -> None:
        """Take time that was counted for a part and count it for those that somebody else has measured within it."""
        for other, length in milliseconds.items():
            self._seconds[part] -= length / 1000
            self._seconds[other] = self._seconds.get(other, 0.0) + length / 1000

    def milliseconds(self) -> dict[Part, float]:
        """What has been counted until now, in milliseconds."""
        self.turn(self.current)
        return {part: seconds * 1000 for part, seconds in self._seconds.items()}
