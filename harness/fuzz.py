"""Differential testing: the same random configs on several runtimes, and every difference in what is seen inside.

Hypothesis makes the configs (`harness.strategies`) and shrinks each difference to the smallest config that shows it.
Every config is run once and its outcome kept, so that a seed gives the same configs again without a run: with it
Hypothesis comes back to the first one that shows a difference, and goes on from there to smaller ones.
"""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import agreement, allowed, backends, launches, outcomes, outer, places, reproduction
from harness.allowed import Allowed
from harness.bench.progress import Progress, Tell
from harness.errors import BadInput, HarnessError
from harness.language import Known
from harness.launches import Host
from harness.outcomes import Difference, Group, Outcome
from harness.results import one_line
from harness.runtime.config import Config

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

DEADLINE = 20.0  # seconds for a container with all its probes
PART = 400  # characters of a value or of a config that are printed
HOW = ("ran", "refused", "failed", "not asked")

Answer = dict[str, Any]


class Comparison(NamedTuple):
    """In what runtimes differ over a config, what of it is allowed or known, and who was not asked or has refused it.

    What is known stands by the runtime and the reason.
    """

    differences: dict[Group, Difference]
    allowed: list[Allowed]
    known: list[tuple[str, str]]
    how: dict[str, str]


Compare = Callable[[Config], Comparison]


@dataclass
class Found:
    """What a search has found so far: of each group how often it came, and the smallest config that shows it."""

    examples: int = 0
    times: Counter[Group] = field(default_factory=Counter)
    smallest: dict[Group, Config] = field(default_factory=dict)
    allowed: Counter[Allowed] = field(default_factory=Counter)
    known: Counter[tuple[str, str]] = field(default_factory=Counter)
    how: Counter[tuple[str, str]] = field(default_factory=Counter)
    interrupted: bool = False

    def add(self, config: Config, comparison: Comparison) -> None:
        """Count one example."""
        self.examples += 1
        self.times.update(comparison.differences.keys())
        self.allowed.update(comparison.allowed)
        self.known.update(comparison.known)
        self.how.update(comparison.how.items())
        for group in comparison.differences:
            self.keep(group, config)

    def keep(self, group: Group, config: Config) -> None:
        """Keep a config that shows a difference if it is the shortest so far, for who cannot wait for the smallest."""
        known = self.smallest.setdefault(group, config)
        if len(_written(config)) < len(_written(known)):
            self.smallest[group] = config


@dataclass(frozen=True)
class Search:
    """Some random configs, the same ones whenever they are drawn, and what compares the runtimes over one of them.

    SIGINT ends what it does, with what has been found until then.
    """

    configs: "SearchStrategy[Config]"
    compare: Compare
    examples: int
    seed: int

    def count(self, announce: Callable[[Group], None], progress: Tell) -> Found:
        """Compare the runtimes over all configs; each difference is announced when it comes for the first time."""
        found = Found()

        def note(config: Config) -> bool:
            progress(f"{found.examples} of {self.examples} configs compared")
            comparison = self.compare(config)
            new = [group for group in comparison.differences if group not in found.times]
            found.add(config, comparison)  # first: what is announced is found, whatever interrupts it
            for group in new:
                announce(group)
            return False

        with _until_interrupted(found):
            self.smallest(note)
        return found

    def shrink(self, group: Group, found: Found, progress: Tell) -> None:
        """Replace the config that shows a difference by the smallest, or by the shortest that is found in time."""

        def is_shown(config: Config) -> bool:
            progress(f"looking for the smallest config that shows {group.path[:50]}")
            if group not in self.compare(config).differences:
                return False
            found.keep(group, config)
            return True

        with _until_interrupted(found):
            if config := self.smallest(is_shown):
                found.smallest[group] = config

    def smallest(self, condition: Callable[[Config], bool]) -> Config | None:
        """Return the smallest config that meets a condition, by Hypothesis, or None where none of them does."""
        import hypothesis

        settings = hypothesis.settings(
            max_examples=self.examples,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        )
        try:
            return hypothesis.find(self.configs, condition, settings=settings, random=Random(self.seed))
        except hypothesis.errors.NoSuchExample:
            return None


@contextlib.contextmanager
def _until_interrupted(found: Found) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        found.interrupted = True


class Runtimes:
    """Some runtimes in an outer sandbox, each asked for config after config, and each config only once."""

    def __init__(
        self,
        names: list[str],
        start: Callable[[], AbstractContextManager[Host]] = outer.start,
        known: Mapping[str, Known] | None = None,
    ) -> None:
        self.names = names
        self.known = known or {}
        self._start = start
        self._sandbox = contextlib.ExitStack()
        self._host: Host | None = None
        self._known: dict[str, Comparison] = {}

    def compare(self, config: Config) -> Comparison:
        """Compare the outcomes of a config."""
        key = _written(config)
        if key not in self._known:
            self._known[key] = comparison(
                config, {name: self._outcome(name, config) for name in self.names}, self.known
            )
        return self._known[key]

    def comparable(self, config: Config) -> bool:
        """Return whether the first and another can be asked for a config: a comparison takes two."""
        first, *others = (not backends.load(name).unsupported(config) for name in self.names)
        return first and any(others)

    def anew(self, config: Config) -> dict[str, Answer]:
        """Run a config once more on those that can be asked, in a sandbox that nobody has used; return the answers."""
        self.close()
        return {name: self._answer(name, config) for name in self.names if not backends.load(name).unsupported(config)}

    def _outcome(self, name: str, config: Config) -> Outcome:
        if lacking := backends.load(name).unsupported(config):
            return Outcome("not asked", "; ".join(lacking))
        return outcomes.outcome(self._answer(name, config), config)

    def _answer(self, name: str, config: Config) -> Answer:
        """Have a container made; a sandbox that gives no answer is what came of it, and the next run has another."""
        if self._host is None:
            self._host = self._sandbox.enter_context(self._start())
        try:
            return self._host.run(agreement.request(name, config), DEADLINE)
        except HarnessError as error:
            self.close()
            return {"error": str(error)}

    def close(self) -> None:
        """End the sandbox; the next run has another."""
        self._host = None
        self._sandbox.close()


def comparison(config: Config, came: dict[str, Outcome], known: Mapping[str, Known]) -> Comparison:
    """Compare the outcomes of a config, and set apart what the runtime-spec allows, and what is known of a runtime."""
    different: dict[Group, Difference] = {}
    permitted, familiar = [], []
    first = next(iter(came))
    for group, difference in outcomes.differences(came, agreement.asked(config)).items():
        # What the first does otherwise is found on the one that is compared with it.
        reasons = [(name, known[name].difference(group.path)) for name in (group.runtime, first) if name in known]
        if allowance := allowed.allowance(group.path, config, difference.shown):
            permitted.append(allowance)
        elif told := [(name, entry.reason) for name, entry in reasons if entry]:
            familiar.append(told[0])
        else:
            different[group] = difference
    return Comparison(different, permitted, familiar, {name: each.how for name, each in came.items()})


def run(names: list[str], examples: int, seed: int, directory: Path) -> int:
    """Look for differences between runtimes, write each into the folder, and tell all; 1 if there are any.

    Raises BadInput where there is nothing to compare, or Hypothesis is not here.
    """
    _require(names)
    try:
        from harness.strategies import configs
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise BadInput("fuzz: Hypothesis is not installed: pip install isoproof[fuzz]") from None
    print(f"seed {seed}: isoproof fuzz {_words(names)} --examples {examples} --seed {seed}", flush=True)
    known = places.scenarios() / "known"
    runtimes = Runtimes(names, known={name: launches.known(known, name) for name in names})
    progress = Progress(sys.stderr)

    def announce(group: Group) -> None:
        progress.close()
        print(f"found: {group.path} on {group.runtime}", flush=True)

    search = Search(configs().filter(runtimes.comparable), runtimes.compare, examples, seed)
    with contextlib.closing(runtimes):
        found = search.count(announce, progress)
        progress.close()
        for line in summary(names, found):
            print(line, flush=True)
        for group, name in zip(found.times, _names(found.times), strict=True):
            if not found.interrupted:
                search.shrink(group, found, progress)
                progress.close()
            config = found.smallest[group]
            difference = runtimes.compare(config).differences[group]
            shown = reproduction.Shown(group, difference, config, (runtimes.anew(config), runtimes.anew(config)))
            files = reproduction.write(directory, name, shown)
            for line in told(shown, found, files):
                print(line, flush=True)
    if found.interrupted and not found.smallest:
        raise KeyboardInterrupt
    return int(bool(found.smallest))


def _require(names: list[str]) -> None:
    """Raise BadInput for runtimes that cannot be compared."""
    if len(set(names)) < 2:
        raise BadInput("fuzz: it takes two runtimes that are not the same: --runtime A --runtime B")
    for name in names:
        if missing := backends.load(name).available():
            raise BadInput(f"runtime {name}: {missing}")


def summary(names: list[str], found: Found) -> Iterator[str]:
    """What came of all examples, in a few lines."""
    yield f"{found.examples} configs compared{' until it was interrupted' if found.interrupted else ''}"
    for name in names:
        counts = [f"{how} {found.how[name, how]}" for how in HOW if found.how[name, how]]
        yield f"  {name} {backends.version(name)}: {', '.join(counts) or 'nothing'}"
    for each, times in found.allowed.most_common():
        yield f"  {times} times allowed: {each.path}: {each.sentence} (runtime-spec {each.section})"
    for (name, reason), times in found.known.most_common():
        yield f"  {times} times known of {name}: {reason}"
    number = len(found.times)
    yield f"{number} difference{'s' if number > 1 else ''}" if number else "no difference"


def told(shown: reproduction.Shown, found: Found, files: reproduction.Files) -> Iterator[str]:
    """A difference for people: what it is about, what each runtime shows, and how to see it again."""
    group, difference = shown.group, shown.difference
    yield ""
    yield f"{group.path} on {group.runtime}: in {found.times[group]} of {found.examples} configs"
    rows = [("asked", difference.asked, ""), *((name, value, name) for name, value in difference.shown.items())]
    width = max(len(label) for label, _, _ in rows)
    for label, value, name in rows:
        yield f"  {label:<{width}}  {_short(value)}{'  (not as asked)' if name in difference.deviating else ''}"
    for line in reproduction.described(shown.config):
        yield f"  config  {_short(line)}"
    if not all(shows(group, shown.config, answers) for answers in shown.answers):
        yield "  it does not come each time"
    yield f"  bundle  {files.bundle}"
    yield f"  again   isoproof verify {files.scenario} {_words(list(difference.shown))}"


def shows(group: Group, config: Config, answers: dict[str, Answer]) -> bool:
    """Return whether answers for a config show a difference."""
    came = {name: outcomes.outcome(answer, config) for name, answer in answers.items()}
    return group in comparison(config, came, {}).differences


def _names(groups: Iterable[Group]) -> Iterator[str]:
    """Return a name for each group, with a number behind the second of the same name and those after it."""
    given: Counter[str] = Counter()
    for group in groups:
        given[group.name] += 1
        yield group.name if given[group.name] == 1 else f"{group.name}-{given[group.name]}"


def _words(names: list[str]) -> str:
    return " ".join(f"--runtime {name}" for name in names)


def _short(value: object) -> str:
    text = one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= PART else f"{text[:PART]}…"


def _written(config: Config) -> str:
    return json.dumps(config, sort_keys=True)
