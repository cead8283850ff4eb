"""One claim: what a config asks for in a field, how it is looked at, and how that is read from what was seen."""

from collections.abc import Callable
from typing import Any, NamedTuple

from harness.runtime.config import Config

Facts = dict[str, Any]

NOTHING: Any = object()  # what is asked for where a config leaves it to the runtime


class Claim(NamedTuple):
    """What is claimed of a field, or of several that only mean something together.

    `asked` returns what must be seen, or NOTHING; `seen` reads it from the facts of the observations, by their names,
    those of the host with `host.` in front. It may raise KeyError where one of them is missing.
    """

    path: str
    asked: Callable[[Config], Any]
    seen: Callable[[Facts, Config], Any]


def fact(name: str, *keys: str) -> Callable[[Facts, Config], Any]:
    """Return what reads one fact of an observation."""

    def read(facts: Facts, _config: Config) -> Any:
        found: Any = facts[name]
        for key in keys:
            found = found[key]
        return found

    return read
