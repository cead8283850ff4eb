"""The runtimes that can be put under test, one module each; the module's name is the value of `--runtime`.

Behind a colon may stand options, with commas between them: a path (`runc:/opt/runc/bin/runc`) names the executable,
`as-shipped` asks for the runtime's own defaults instead of ours, all else is the runtime's own
(`docker:seccomp=unconfined`, `podman:rootless`). A module has `make(options)`, which returns its Backend. It knows
configs, not scenarios.
"""

import functools
import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from harness.runtime.cgroup import wanted
from harness.runtime.errors import BadInput
from harness.runtime.inspect import delegated

Config = dict[str, Any]
Streams = tuple[int, int, int]

SHIPPED = "as-shipped"
EXECUTABLE = "/PATH"  # how the option that names an executable is told


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: its exit status as shells give it, or why the runtime refused to start it.

    `command` is what started it, for the report: nothing where no program of its own did.
    """

    status: int
    refused: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What stands behind the name of a runtime.

    `executable` is a path, `shipped` whether the runtime's own defaults are asked for, `values` is all else: what
    stands behind the sign of `seccomp=unconfined`, or nothing for a word such as `rootless`.
    """

    name: str
    executable: str = ""
    shipped: bool = False
    values: dict[str, str] = field(default_factory=dict)

    def only(self, known: Iterable[str] = (), executable: bool = True) -> None:
        """Raise BadInput, with a sentence, for an option that the runtime does not have."""
        known = [*known, SHIPPED]
        for value in self.values:
            if value not in known:
                raise BadInput(f"runtime {self.name}: unknown option {value!r}; it has {', '.join(known)}")
        if self.executable and not executable:
            raise BadInput(f"runtime {self.name}: it has no executable that could be another")


class Backend(Protocol):
    """A runtime under test, with its options. Whoever has no daemon need not have `serve`."""

    def available(self) -> str | None:
        """Return why this runtime cannot be used here, and what to install or enable, or None where it can."""

    def version(self) -> str:
        """Return the version found; asked for only where the runtime is available."""

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config this runtime cannot express, or this user cannot have."""

    def serve(self, directory: Path) -> None:
        """Start what containers are made by, such as a daemon, before the first run in a sandbox.

        It is called by the first process of the sandbox and ends with that; the directory is its own. Raises
        HarnessError, with the daemon's last words, where it does not answer in time.
        """
        return None

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container to its end, within a deadline in seconds, and clean up whatever happens."""


def names() -> list[str]:
    """Return the names of all backends, found by listing this folder."""
    return sorted(entry.stem for entry in Path(__file__).parent.glob("*.py") if not entry.stem.startswith("_"))


@functools.cache
def load(text: str) -> Backend:
    """Return a backend by its name and options.

    Raises BadInput, with a sentence, for a name or an option that is none.
    """
    options = parse(text)
    module = importlib.import_module(f"{__name__}.{options.name}")
    return cast(Backend, module.make(options))


def parse(text: str) -> Options:
    """Return what a text asks for: a name, and behind a colon options. Raises BadInput for a name that is none."""
    name, _, rest = text.partition(":")
    if name not in names():
        raise BadInput(f"unknown runtime {name!r}; known are {', '.join(names())}")
    words = [word for word in rest.split(",") if word]
    paths = [word for word in words if word.startswith("/")]
    if len(paths) > 1:
        raise BadInput(f"runtime {name}: two executables, {' and '.join(paths)}")
    values = {key: value for key, _, value in (word.partition("=") for word in words if word not in (SHIPPED, *paths))}
    return Options(name, paths[0] if paths else "", SHIPPED in words, values)


@functools.cache
def version(text: str) -> str:
    """Return the version of a runtime, or nothing where it is not here; asked for once in a process."""
    backend = load(text)
    return "" if backend.available() else backend.version()


@functools.cache
def here() -> list[str]:
    """Return every runtime that is here, ours first, and each of the others as it is shipped, too.

    Not among them are the one that does nothing, and what is nothing without an option. Ours has no other defaults.
    """
    found = ["builtin"]
    for name in names():
        if name not in ("builtin", "null"):
            found += [text for text in (name, f"{name}:{SHIPPED}") if not load(text).available()]
    return found


def options_of(name: str) -> list[str]:
    """Return the options that a runtime has, as it says when it is made: `/PATH`, `as-shipped` and its own."""
    try:
        importlib.import_module(f"{__name__}.{name}").make(_Inquiry(name, EXECUTABLE))
    except _Told as told:
        return list(told.args)
    return []


class _Told(Exception):
    """The options of a runtime, which nobody has wanted to use."""


class _Inquiry(Options):
    def only(self, known: Iterable[str] = (), executable: bool = True) -> None:
        raise _Told(*([EXECUTABLE] if executable else []), SHIPPED, *known)


def findings(text: str) -> str:
    """Return the name of the file in scenarios/known/ that is about a runtime.

    It has the options in it, for with others it is asked for another container and fails at other things; not the
    path of an executable, whose version tells what is known of it.
    """
    options = parse(text)
    words = [f"{key}={value}" if value else key for key, value in options.values.items()]
    return "-".join([options.name, *words, *([SHIPPED] if options.shipped else [])]).replace("=", "-").replace("/", "-")


def undelegated(config: Config) -> list[str]:
    """Return what this user may not have of the cgroups that a config needs: nothing is kept from root."""
    if not wanted(config) or os.geteuid() == 0:
        return []
    if not delegated(config):
        return ["cgroups, which are not delegated to this user"]
    if config.get("linux", {}).get("resources", {}).get("devices"):
        return ["rules for devices, which are a BPF program on version 2 of control groups, and only root may load one"]
    return []
