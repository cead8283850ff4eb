"""Contenders take turns: each starts once in a round, for a machine changes by more between two runs than they differ.

Whoever fails is noted with the reason and goes on, until that loses too much time. The order within a round is another
one each time, the same in every run, so that nobody always follows the same neighbour, who may still be clearing up.
"""

import random
import time
from collections.abc import Callable, Mapping

from harness.bench.progress import Tell
from harness.bench.series import Round, Series, Settings
from harness.errors import IsoproofError

IN_A_ROW = 3  # failures after which a contender is given up
PATIENCE = 20.0  # seconds that the failures of one contender may take in all


class Turns:
    """The turns of some contenders, each a label and what makes one start or raises IsoproofError.

    One of them may be started by somebody else: the last in each round, by `own`, after the `others`.
    """

    def __init__(
        self,
        title: str,
        starts: Mapping[str, Callable[[], Round]],
        settings: Settings,
        tell: Tell,
        last: str | None = None,
    ) -> None:
        self._title = title
        self._starts = starts
        self._settings = settings
        self._tell = tell
        self._random = random.Random(1)
        self._outcomes: dict[str, list[Round | str]] = {label: [] for label in starts}
        self._lost = dict.fromkeys(starts, 0.0)
        self._last = last
        self._round = 0

    def all_rounds(self) -> None:
        """Let them take all their turns."""
        for _ in range(self._settings.warmup + self._settings.rounds):
            self.others()
            self.own()

    def others(self) -> None:
        """Begin a round: start all but the last contender."""
        self._round += 1
        labels = [label for label in self._starts if label != self._last]
        for label in self._random.sample(labels, len(labels)):
            self._start(label)

    def own(self) -> None:
        """Start the last contender, where there is one."""
        if self._last is not None:
            self._start(self._last)

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

    def _start(self, label: str) -> None:
        outcomes = self._outcomes[label]
        if self._is_given_up(label):
            return
        total = self._settings.warmup + self._settings.rounds
        self._tell(f"{self._title}: round {self._round} of {total}, {label}")
        time.sleep(self._settings.gap_ms / 1000)
        begun = time.monotonic()
        try:
            outcomes.append(self._starts[label]())
        except (IsoproofError, OSError) as error:
            outcomes.append(str(error))
            self._lost[label] += time.monotonic() - begun
            if self._is_given_up(label):
                outcomes[-1] = f"{error} (given up)"

    def _is_given_up(self, label: str) -> bool:
        last = self._outcomes[label][-IN_A_ROW:]
        failed = len(last) == IN_A_ROW and all(isinstance(outcome, str) for outcome in last)
        return failed or self._lost[label] > PATIENCE
