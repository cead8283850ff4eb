"""What the benchmark has found, and the shape of reports/benchmark.json.

A benchmark has sections, each of which answers one question; a section has series, each of one contender or variation
under a label; a series has rounds. All figures are computed from the rounds when the file is written, and again when it
is read, so that there is one truth.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from harness import latency
from harness.errors import BadInput
from harness.results import one_line, require_format

FORMAT = 2
Quantity = Literal["first", "clean", "cpu", "memory"]
QUANTITIES: dict[Quantity, tuple[str, float]] = {  # the name of its summary, and how many of a round make one of it
    "first": ("first_ms", 1e6),
    "clean": ("clean_ms", 1e6),
    "cpu": ("cpu_ms", 1e6),
    "memory": ("memory_kib", 1),
}
MOST = 2**53  # which floating point numbers tell apart; as nanoseconds it is a hundred days
Amount = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Duration = Annotated[int, msgspec.Meta(gt=0, le=MOST)]  # what a start has taken is divided by


class Round(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One start. Times are in nanoseconds; None is what was not measured.

    `first`: from the request to the first instruction inside; `clean`: until nothing of it was left; `cpu`: the time
    that processors have worked for it; `memory`: the most that one of its processes has had at once, in KiB.
    """

    first: Duration | None = None
    clean: Duration | None = None
    cpu: Amount | None = None
    memory: Amount | None = None


class Series(msgspec.Struct):
    """The rounds under one label, None for one that failed, and why each of those did: index of the round, reason."""

    rounds: list[Round | None] = []
    failures: list[tuple[Amount, str]] = []

    def add(self, outcome: Round | str) -> None:
        """Take down the next round, or the reason why it failed."""
        if isinstance(outcome, str):
            self.failures.append((len(self.rounds), outcome))
        self.rounds.append(outcome if isinstance(outcome, Round) else None)

    def values(self, quantity: Quantity) -> list[int]:
        """Return one quantity of all rounds that did not fail and in which it was measured."""
        found = (getattr(seen, quantity) for seen in self.rounds if seen is not None)
        return [value for value in found if value is not None]

    def summary(self, quantity: Quantity) -> dict[str, float] | None:
        """Return its minimum, percentiles and maximum, in milliseconds or KiB; None where there is nothing of it."""
        values = self.values(quantity)
        return latency.summary(values, QUANTITIES[quantity][1]) if values else None

    @property
    def failed(self) -> float:
        """The share of rounds that failed."""
        return self.rounds.count(None) / max(1, len(self.rounds))


class Section(msgspec.Struct):
    """The answer to one question: its title, the question as a sentence, and the series by their labels.

    `words` are sentences for where a reader of the bare figures would misread them.
    """

    title: str
    question: str
    series: dict[str, Series] = {}
    words: list[str] = []


class Contender(msgspec.Struct, frozen=True):
    """Who took part: what it is in a sentence, its version, the command as shells read it, or why it is absent.

    What is no command of its own has an empty one.
    """

    what: str
    version: str
    command: str = ""
    absent: str | None = None


class Settings(msgspec.Struct, frozen=True):
    """How it was measured: rounds of each contender, the gap before a start, rounds before those that count."""

    rounds: int
    gap_ms: float
    warmup: int


class Benchmark(msgspec.Struct):
    """All that one `make bench` has found. `started` is UTC in ISO 8601, `seconds` the wall time."""

    started: str
    seconds: float
    environment: dict[str, Any]
    settings: Settings
    contenders: dict[str, Contender]
    sections: dict[str, Section]
    format: int = FORMAT


def to_json(benchmark: Benchmark) -> str:
    """Return the text of the file, with the figures of each series."""
    told = msgspec.to_builtins(benchmark)
    told = {"format": told.pop("format"), **told}
    for name, section in benchmark.sections.items():
        for label, series in section.series.items():
            told["sections"][name]["series"][label] = _figures(series) | told["sections"][name]["series"][label]
    return msgspec.json.format(msgspec.json.encode(told), indent=1).decode() + "\n"


def _figures(series: Series) -> Mapping[str, Any]:
    summaries = {name: series.summary(quantity) for quantity, (name, _) in QUANTITIES.items()}
    return {**summaries, "failed": series.failed}


def from_json(text: str | bytes, path: str = "benchmark") -> Benchmark:
    """Return the benchmark in a file; BadInput names the file and says in one line what is wrong with it."""
    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("format")
        require_format("benchmark", version, FORMAT, path, "measure again with this isoproof")
        found = msgspec.json.decode(text, type=Benchmark)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: not a benchmark of isoproof: {one_line(error)}") from None
    for name, section in found.sections.items():
        for label, series in section.series.items():
            failed = [index for index, seen in enumerate(series.rounds) if seen is None]
            if failed != [index for index, _ in series.failures]:
                raise BadInput(
                    f"{path}: not a benchmark of isoproof: failures and rounds of {label} in {name} do not agree"
                )
    return found
