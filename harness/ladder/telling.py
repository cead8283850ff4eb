"""The ladder as plain text, for who asks what a container is: every rung in three lines, or one of them in full."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from textwrap import wrap

from harness import environment
from harness.ladder.record import Climber, Ladder
from harness.results import printable

BAR = 20  # signs, of which each stands for a part of all checks
LABEL = 12
NARROWEST = 40
MOST_NAMED = 5  # of those without a verdict
MOST_CALLS = 8  # of a step; one that does the same for every signal or capability has more


def lines(ladder: Ladder, width: int) -> Iterator[str]:
    """Every rung, from the bottom up: how many checks hold from there on, and what is the worst that does not."""
    yield from wrap(
        f"What does each kernel feature isolate? {len(ladder.checks)} checks in {ladder.containers} containers that "
        "grow step by step, from chroot(2) alone to all that is asked for.",
        width,
    )
    for at, told in enumerate(ladder.rungs):
        yield ""
        yield printable(f"{at:2} {told.name:<18}[{_bar(ladder, at)}] {_counted(ladder, at)}")
        yield from _indented(f"{told.feature}, {told.page}. {told.title}.", width)
        if told.example:
            check = _named(ladder, told.example.check)
            yield from _indented(f"Not yet: {check.claim} ({check.severity}, {check.name})", width)
    yield ""
    yield from notes(ladder, width)


def rung(ladder: Ladder, name: str, width: int) -> Iterator[str]:
    """One rung: what it is for, what it adds to a plan, which checks it turns green, and what is still open."""
    at = ladder.find(name)
    told = ladder.rungs[at]
    yield printable(f"{at} {told.name}: {told.feature}, {told.page}")
    yield f"[{_bar(ladder, at)}] {_counted(ladder, at)}"
    yield ""
    yield from _labelled("why", f"{told.title}. {told.why}", width)
    yield ""
    yield from _block("adds", _adds(ladder, at), width)
    yield ""
    yield from _block("taken away", [" + ".join(told.knobs) or "nothing: it is the lowest rung"], width)
    yield ""
    yield from _block("holds now", _checks(ladder.turned(at)) or ["nothing that did not hold before"], width)
    yield ""
    yield from _block("not yet", list(_open(ladder, at)) or ["nothing: every check holds"], width)


def notes(ladder: Ladder, width: int) -> Iterator[str]:
    """What the figures mean, what was left out and why, and which rungs have no effect here."""
    unseen = [check for check in ladder.checks if check.reason]
    at_the_top = ladder.open(len(ladder.rungs) - 1)
    texts = [
        "+n: so many checks hold from this rung on, and up to the top. `isoproof ladder RUNG` tells more of one.",
        f"{len(ladder.left_out)} checks need containers of their own and are left out; isoproof verify makes them.",
        *(f"skip: {name}: {reason}" for name, reason in ladder.skipped.items()),
        *(f"{name} turns nothing green: it, or what takes it away, has no effect here." for name in ladder.idle()),
        *(f"without a verdict: {check.name}: {check.reason}" for check in unseen[:MOST_NAMED]),
        *([f"… and {len(unseen) - MOST_NAMED} more without a verdict"] if len(unseen) > MOST_NAMED else []),
        *([f"not even at the top: {', '.join(check.name for check in at_the_top)}"] if at_the_top else []),
        f"{ladder.started}, {ladder.seconds:.0f} s, on {environment.one_line(ladder.environment)}",
    ]
    for text in texts:
        yield from wrap(printable(text), width, subsequent_indent="   ", break_long_words=False)


def _bar(ladder: Ladder, at: int) -> str:
    filled = BAR * len(ladder.green(at)) // max(1, len(ladder.checks))
    return "#" * filled + "." * (BAR - filled)


def _counted(ladder: Ladder, at: int) -> str:
    still_open = ladder.open(at)
    escapes = sum(check.severity == "escape" for check in still_open)
    left = f"open {len(still_open)}, escapes {escapes}" if still_open else "nothing open"
    return f"{len(ladder.green(at)):3} hold (+{len(ladder.turned(at))}), {left}"


def _adds(ladder: Ladder, at: int) -> list[str]:
    told = ladder.rungs[at]
    found = [f"clone3({told.flags})"] if told.flags else []
    for each in told.steps:
        found.append(f"{each.name}: {each.why}")
        found += [f"    {call}" for call in each.calls[:MOST_CALLS]]
        if len(each.calls) > MOST_CALLS:
            found.append(f"    … and {len(each.calls) - MOST_CALLS} calls more")
    return found


def _checks(checks: Iterable[Climber]) -> list[str]:
    return [f"{check.name} ({check.severity}): {check.claim}" for check in checks]


def _open(ladder: Ladder, at: int) -> Iterator[str]:
    """The worst check with its evidence, and of the others how many there are, by severity and area."""
    example = ladder.rungs[at].example
    if example:
        check = _named(ladder, example.check)
        yield f"{check.name} ({check.severity}): {check.claim}"
        for failure in example.failures:
            yield f"    {failure.path}:{failure.line}: {failure.expression}"
            yield from (f"        {source} = {value}" for source, value in failure.values)
    others = [check for check in ladder.open(at) if not example or check.name != example.check]
    for severity, each in groupby(others, key=lambda check: check.severity):
        areas = Counter(check.area for check in each)
        yield f"{areas.total()} more, {severity}: {', '.join(f'{area} {number}' for area, number in areas.items())}"


def _named(ladder: Ladder, name: str) -> Climber:
    return next(check for check in ladder.checks if check.name == name)


def _indented(text: str, width: int) -> list[str]:
    return wrap(printable(text), width, initial_indent="   ", subsequent_indent="   ", break_long_words=False)


def _block(label: str, texts: list[str], width: int) -> Iterator[str]:
    for index, text in enumerate(texts):
        yield from _labelled("" if index else label, text, width)


def _labelled(label: str, text: str, width: int) -> Iterator[str]:
    """A text beside its label, in lines that are no longer than they may be, but for words that are."""
    indent = " " * (len(text) - len(text.lstrip()))
    space = max(width - LABEL, NARROWEST)
    pieces = wrap(printable(text.strip()), space - len(indent), subsequent_indent="  ", break_long_words=False)
    for index, line in enumerate(pieces):
        yield f"{'' if index else label:<{LABEL}}{indent}{line}"
