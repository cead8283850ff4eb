"""Containers of other runtimes in an outer sandbox, for the tests of their backends, and what these leave there."""

from collections import Counter
from typing import Any

from harness import outer, shapes
from harness.language import Container

Facts = dict[str, Any]
PYTHON = ["/isoproof/lib/loader", "--library-path", "/isoproof/lib", "/isoproof/bin/python", "-I", "-S", "-c"]


def leftovers(host: outer.Outer) -> Facts:
    """What of a container could be left in a sandbox: everything of the kinds that there are."""
    nothing = {"runtime": "null", "config": {"process": {"args": [shapes.COMMAND]}}, "inside": {}}
    seen = {"seen": {"probe": "host_snapshot", "args": {"rootfs": outer.WORK + "/none"}}}
    facts: Facts = host.run(nothing | {"host": seen}, 10.0)["host"]["seen"]["facts"]
    facts["mounts"] = [mount for mount in facts["mounts"] if "/run-" not in mount]  # those of the run that asks
    return {kind: facts[kind] for kind in ("mounts", "cgroups", "processes")}


class Sandbox:
    """An outer sandbox in which one runtime starts containers."""

    def __init__(self, host: outer.Outer, runtime: str) -> None:
        self.runtime = runtime
        self._host = host
        self._before = leftovers(host)

    def run(self, inside: Facts | None = None, deadline: float = 20.0, **changes: Any) -> Facts:
        """Run a container of the default config with a merge patch."""
        return self.start(shapes.merged(shapes.config([Container()], 0, 0), changes), deadline, inside)

    def start(self, config: Facts, deadline: float, inside: Facts | None = None) -> Facts:
        """Run a container of a config, with the probes in it."""
        request = {"runtime": self.runtime, "config": config, "inside": {"init": {"probe": "init"}, **(inside or {})}}
        return self._host.run(request, deadline)

    def say(self, code: str, deadline: float = 20.0, **changes: Any) -> Facts:
        """Run a line of Python in a container instead of the probes; what they are asked for is put behind it."""
        process = {"args": [*PYTHON, code, shapes.COMMAND], **changes.pop("process", {})}
        return self.run(deadline=deadline, process=process, **changes)

    def left(self) -> list[str]:
        """What the runs have left on the host: mounts, cgroups, processes by their numbers."""
        after = leftovers(self._host)
        left = [Counter[str](after[kind]) - Counter(seen) for kind, seen in self._before.items()]
        return sorted(name for kind in left for name in kind.elements())
