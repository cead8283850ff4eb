"""Contenders take turns: each starts once in a round, for a machine changes by more between two runs than they differ.

Whoever fails is noted with the reason and goes on, until that loses too much time. The order within a round is another
one each time, the same in every run, so that nobody always follows the same neighbour, who may still be clearing up.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from harness.bench.progress import Tell
from harness.bench.series import Round, Series, Settings
from harness.errors import IsoproofError

IN_A_ROW = 3  # failures after which a contender is given up
PATIENCE = 20.0  # seconds that the failures of one contender may take in all


def orders(labels: Sequence[str]) -> Iterator[list[str]]:
    """Yield the order within each round."""
    chance = random.Random(1)
    while True:
        yield chance.sample(labels, len(labels))


class Turns:
    """The turns of some contenders, each a label and what makes one start or raises IsoproofError.

    One of them, `own`, may be started and timed by somebody else, who calls `before`, `own` and `after` in each round.
    Nobody gets another turn who has spent so many `seconds` on those before.
    """

    def __init__(
        self,
        title: str,
        starts: Mapping[str, Callable[[], Round]],
        settings: Settings,
        tell: Tell,
        own: str | None = None,
        seconds: float = float("inf"),
    ) -> None:
        self._title = title
        self._starts = starts
        self._settings = settings
        self._tell = tell
        self._orders = orders(list(starts))
        self._outcomes: dict[str, list[Round | str]] = {label: [] for label in starts}
        self._seconds = seconds
        self._spent = dict.fromkeys(starts, 0.0)
        self._lost = dict.fromkeys(starts, 0.0)
        self._own = own
        self._waiting: list[str] = []  # whose turn comes after that of our own
        self._round = 0

    def all_rounds(self) -> None:
        """Let them take all their turns."""
        for _ in range(self._settings.warmup + self._settings.rounds):
            self.before()
            self.own()
            self.after()

    def before(self) -> None:
        """Begin a round: start those whose turn comes before that of our own, and make the gap before that one."""
        self._round += 1
        order = next(self._orders)
        place = order.index(self._own) if self._own else len(order)
        self._waiting = order[place + 1 :]
        for label in order[:place]:
            self._pause(label)
            self._start(label)
        if self._own:
            self._pause(self._own)

    def own(self) -> None:
        """Start our own, and do nothing else."""
        if self._own:
            self._start(self._own)

    def after(self) -> None:
        """End the round: start those whose turn comes after that of our own."""
        for label in self._waiting:
            self._pause(label)
            self._start(label)

    def series(self) -> dict[str, Series]:
        """Return what was found after the first rounds; if that is no good start, all that has failed."""
        found = {}
        for label, outcomes in self._outcomes.items():
            counted = outcomes[self._settings.warmup :]
            if not any(isinstance(outcome, Round) for outcome in counted):
                counted = [outcome for outcome in outcomes if isinstance(outcome, str)]
            found[label] = Series()
            for outcome in counted:
                found[label].add(outcome)
        return found

    def _pause(self, label: str) -> None:
        """Make the gap before a start, and say whose turn it is."""
        if not self._is_out(label):
            total = self._settings.warmup + self._settings.rounds
            self._tell(f"{self._title}: round {self._round} of {total}, {label}")
            time.sleep(self._settings.gap_ms / 1000)

    def _start(self, label: str) -> None:
        if self._is_out(label):
            return
        begun = time.monotonic()
        try:
            outcome: Round | str = self._starts[label]()
        except (IsoproofError, OSError) as error:
            outcome = str(error)
        taken = time.monotonic() - begun
        self._outcomes[label].append(outcome)
        self._spent[label] += taken
        if isinstance(outcome, str):
            self._lost[label] += taken
            if self._is_given_up(label):
                self._outcomes[label][-1] = f"{outcome} (given up)"

    def _is_out(self, label: str) -> bool:
        return self._spent[label] > self._seconds or self._is_given_up(label)

    def _is_given_up(self, label: str) -> bool:
        last = self._outcomes[label][-IN_A_ROW:]
        failed = len(last) == IN_A_ROW and all(isinstance(outcome, str) for outcome in last)
        return failed or self._lost[label] > PATIENCE
