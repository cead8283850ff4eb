"""What this host can do: the machine, the runtimes that are here, and what each can be asked for, by area.

`isoproof doctor` tells it. Nothing is run but one outer sandbox, which is what cannot be read off.
"""

import functools
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from harness import backends, environment, outer, places, verdict
from harness.launches import Case, config, known, obstacle
from harness.report._text import WIDTH, Piece, plain, table
from harness.results import one_line
from harness.runtime import leftovers
from harness.runtime.errors import BadInput, IsoproofError
from harness.runtime.fields import CAPABILITIES
from harness.scenario import Scenario

MOST = 5  # of many runtimes, so many obstacles each are told


class Examined(NamedTuple):
    """A runtime: `missing` says why it cannot be used, `askable` how many checks of an area it can be asked for.

    `obstacles` are what stands in the way of the others, and of how many; a check may lack several things.
    """

    name: str
    version: str
    missing: str
    options: list[str]
    askable: Counter[str]
    obstacles: Counter[str]


class Census(NamedTuple):
    """How many checks there are of each area, what this machine lacks for some, and what each runtime does."""

    checks: Counter[str]
    unmet: Counter[str]
    runtimes: list[Examined]


def clean() -> int:
    """Remove what launchers that were killed have left, and say what; exit status 1 if something had to stay."""
    lines = list(leftovers.remove())
    for line in lines or ["nothing was left behind"]:
        print(line)
    return int(any(line.lstrip().startswith("left") for line in lines))


def examine(names: list[str], scenarios: list[Scenario]) -> int:
    """Say what this host can do with some runtimes, all of them if none is named, and return the exit status.

    It is 1 where no outer sandbox starts, or where one of the runtimes is missing that were named (ours, if none was).
    """
    sandbox, starts = _sandbox()
    found = census(names or backends.names(), scenarios)
    width = max(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH)
    for line in lines(found, sandbox, width):
        print(plain(line))
    wanted = names or ["builtin"]
    return int(not starts or any(each.missing for each in found.runtimes if each.name in wanted))


def census(names: list[str], scenarios: list[Scenario]) -> Census:
    """Work out for each check in each shape whether a runtime can be asked for it, and if not, why."""
    checks: Counter[str] = Counter()
    unmet: Counter[str] = Counter()
    runtimes = [_examined(name) for name in names]
    read = functools.cache(known)  # for all scenarios of a folder
    for scenario in scenarios:
        area = Path(scenario.path).stem
        folder = places.find(scenario.path).parent / "known"
        findings = {each.name: read(folder, each.name) for each in runtimes if not each.missing}
        for check in (shaped for own in scenario.checks for shaped in own.everywhere()):
            checks[area] += 1
            lack = verdict.unmet(check, environment.facts())
            if lack and lack.outcome == "skip":
                unmet[lack.reason] += 1
                continue
            asked = config(*check.base, check.container)
            for each in runtimes:
                if each.missing:
                    continue
                found = obstacle(Case(check, each.name), findings[each.name], asked)
                if found:
                    each.obstacles.update(found.lacking or [found.reason])
                else:
                    each.askable[area] += 1
    return Census(checks, unmet, runtimes)


def _examined(name: str) -> Examined:
    try:
        missing = backends.load(name).available() or ""
    except BadInput as error:  # it is nothing without an option, such as a path
        missing = str(error)
    options = backends.options_of(backends.parse(name).name)
    return Examined(name, "" if missing else backends.version(name), missing, options, Counter(), Counter())


def lines(found: Census, sandbox: str, width: int) -> Iterator[str]:
    """All that there is to say, within a width."""
    facts = environment.facts()
    lacking = missing_capabilities()
    yield from labelled("machine", environment.one_line(facts), width)
    yield from labelled("capabilities", f"all but {', '.join(lacking)}" if lacking else "all", width)
    yield from labelled("namespaces", " ".join(facts["namespaces"]), width)
    yield from labelled("packages", ", ".join(f"{name} {text}" for name, text in facts["versions"].items()), width)
    yield from labelled("outer sandbox", sandbox, width)
    yield ""
    yield "runtimes, and the options that may stand behind a colon"
    for each in found.runtimes:
        told = f"not here: {each.missing}" if each.missing else each.version
        yield from labelled(f"  {each.name}", f"{told} ({', '.join(each.options)})", width)
    here = [each for each in found.runtimes if not each.missing]
    if found.checks and here:
        yield ""
        yield "how many checks of each area they can be asked for, each shape counted"
        rows = [
            (f"  {area}", [Piece(f"{each.askable[area]} of {number}") for each in here])
            for area, number in found.checks.items()
        ]
        total = found.checks.total()
        rows.append(("  all", [Piece(f"{each.askable.total()} of {total}") for each in here]))
        for line in table([each.name for each in here], rows, width):
            yield "".join(piece.text for piece in line).rstrip()
    if found.unmet or any(each.obstacles for each in here):
        yield "what stands in the way of the others, and of how many"
    yield from _counted("on this machine", found.unmet, width)
    for each in here:
        most = MOST if len(found.runtimes) > MOST else len(each.obstacles)
        yield from _counted(f"with {each.name}", Counter(dict(each.obstacles.most_common(most))), width)
        if len(each.obstacles) > most:
            yield f"         and {len(each.obstacles) - most} more things: isoproof doctor {each.name}"


def _counted(heading: str, reasons: Counter[str], width: int) -> Iterator[str]:
    """Reasons with their numbers, the most first; nothing if there are none."""
    if reasons:
        yield f"  {heading}"
    for reason, number in reasons.most_common():
        yield from labelled(f"{number:>7}", reason, width, 9)


def labelled(label: str, text: str, width: int, indent: int = 15) -> Iterator[str]:
    """A text behind a label, its further lines below its first; a label that is too long has a line of its own."""
    first, *others = wrap(one_line(text), width - indent, break_on_hyphens=False) or [""]
    if len(label) + 2 > indent:
        yield label
        label = ""
    yield f"{label:<{indent}}{first}"
    yield from (f"{'':<{indent}}{line}" for line in others)


def _sandbox() -> tuple[str, bool]:
    """How it went to start an outer sandbox, and whether it did."""
    begun = time.monotonic()
    try:
        with outer.start():
            pass
    except IsoproofError as error:
        return str(error), False
    return f"started and ended in {time.monotonic() - begun:.2f} s", True


def missing_capabilities() -> list[str]:
    """The capabilities that this kernel knows and this process lacks."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    effective = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    return [name for number, name in enumerate(CAPABILITIES[: last + 1]) if not effective >> number & 1]
