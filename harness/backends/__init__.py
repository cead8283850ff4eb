"""The runtimes that can be put under test, one module each; the module's name is the value of `--runtime`.

A backend has `available()`, which says why it cannot be used here or nothing, `version()`, `unsupported(config)`, which
lists what of a config it cannot express, and `run(config, bundle, io, deadline)`, which runs the container to its end,
cleans up whatever happens and says how it ended. It knows configs, not scenarios.
"""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from harness.runtime.inspect import delegated

Config = dict[str, Any]
Streams = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: its exit status as shells give it, or why the runtime refused to start it."""

    status: int
    refused: str = ""


class Backend(Protocol):
    """What a module of this package offers."""

    def available(self) -> str | None:
        """Return why this runtime cannot be used here, or None where it can."""

    def version(self) -> str:
        """Return the version found."""

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config this runtime cannot express."""

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container to its end, within a deadline in seconds, and clean up."""


def names() -> list[str]:
    """Return the names of all backends, found by listing this folder."""
    return sorted(entry.stem for entry in Path(__file__).parent.glob("*.py") if not entry.stem.startswith("_"))


def load(name: str) -> Backend:
    """Return a backend.

    Raises ValueError, with a sentence, for a name that is none.
    """
    if name not in names():
        raise ValueError(f"unknown runtime {name!r}; known are {', '.join(names())}")
    return cast(Backend, importlib.import_module(f"{__name__}.{name}"))


def cgroups_writable(config: Config) -> bool:
    """Return whether this user may make the cgroups that a config needs: root, or whoever has version 2's delegated."""
    return os.geteuid() == 0 or delegated(config)
