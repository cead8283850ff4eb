"""Differences between runtimes that the runtime-spec allows: each with its section and what that leaves open."""

import fnmatch
from collections.abc import Callable
from typing import Any, NamedTuple

from harness.runtime.config import Config

Shown = dict[str, Any]


def always(_config: Config, _shown: Shown) -> bool:
    """Return that a difference is allowed whatever the config and the runtimes say."""
    return True


class Allowed(NamedTuple):
    """Differences of a field, or of starts, that are nobody's fault; `when` tells by the config and what is shown."""

    path: str  # a pattern of fnmatch, over the paths of `harness.outcomes.Group`
    section: str
    sentence: str
    when: Callable[[Config, Shown], bool] = always


ALLOWED: tuple[Allowed, ...] = ()


def allowance(path: str, config: Config, shown: Shown) -> Allowed | None:
    """Return what allows a difference, or None."""
    for allowed in ALLOWED:
        if fnmatch.fnmatchcase(path, allowed.path) and allowed.when(config, shown):
            return allowed
    return None
