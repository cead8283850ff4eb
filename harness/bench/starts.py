"""Starts of our own runtime in this process, by containers that were prepared once."""

from collections.abc import Callable

from harness.bench import cells
from harness.bench.series import Round, Settings
from harness.runtime.launch import Prepared

# Those of all sections but the ones that say otherwise. With fewer rounds medians move by more than what is to be told
# apart.
SETTINGS = Settings(rounds=100, gap_ms=5, warmup=5)
NOT_REPLAYED = "Not measured: on this machine, or by this user, no start is replayed."

Start = Callable[[], Round]


def start(container: Prepared) -> Round:
    """Start a container once, from its pool where it has one. Raises IsoproofError."""
    return Round(*cells.start(container).durations)
