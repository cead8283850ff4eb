"""Containers of other runtimes in an outer sandbox, for the tests of their backends."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from harness import backends, outer, shapes
from harness.language import Container

Facts = dict[str, Any]
CGROUPS = ("", "systemd", "unified")  # where cgroups are on version 2, and where version 1 has none but for systemd
PYTHON = ["/isoproof/lib/loader", "--library-path", "/isoproof/lib", "/isoproof/bin/python", "-I", "-S", "-c"]


class Sandbox:
    """An outer sandbox in which one runtime starts containers."""

    def __init__(self, host: outer.Outer, runtime: str) -> None:
        self._host = host
        self._runtime = runtime
        self._before = self._look()

    def run(self, inside: Facts | None = None, deadline: float = 20.0, **changes: Any) -> Facts:
        """Run a container of the default config with a merge patch."""
        config = shapes.merged(shapes.config([Container()], 0, 0), changes)
        request = {"runtime": self._runtime, "config": config, "inside": {"init": {"probe": "init"}, **(inside or {})}}
        return self._host.run(request, deadline)

    def say(self, code: str, deadline: float = 20.0, **changes: Any) -> Facts:
        """Run a line of Python in a container instead of the probes; what they are asked for is put behind it."""
        process = {"args": [*PYTHON, code, shapes.COMMAND], **changes.pop("process", {})}
        return self.run(deadline=deadline, process=process, **changes)

    def left(self) -> list[str]:
        """What the runs have left on the host: processes, mounts, cgroups.

        A process that has died in the meantime is reaped by the next run, so it is looked for twice.
        """
        self._look()
        return sorted((self._look() - self._before).elements())

    def _look(self) -> Counter[str]:
        probes: Facts = {
            "processes": {"probe": "processes"},
            "mounts": {"probe": "mounts"},
            **{name: {"probe": "listing", "args": {"path": f"/sys/fs/cgroup/{name}"}} for name in CGROUPS},
        }
        nothing = {"runtime": "null", "config": {"process": {"args": [shapes.COMMAND]}}, "inside": {}, "host": probes}
        seen = {name: entry["facts"] for name, entry in self._host.run(nothing, 10.0)["host"].items()}
        cgroups = [entry for name in CGROUPS for entry in seen[name]["entries"]]
        points = [re.sub(r"run-[0-9a-f]{8}", "run", point) for point in seen["mounts"]["points"]]
        return Counter([*seen["processes"]["names"].values(), *points, *cgroups])


@contextmanager
def sandbox(runtime: str, missing: Callable[[str], NoReturn]) -> Iterator[Sandbox]:
    """A sandbox for a runtime; skips where that is not installed."""
    if reason := backends.load(runtime).available():
        missing(reason)
    with outer.start() as host:
        yield Sandbox(host, runtime)
