"""Our own runtime, in this process; `builtin:forked` has its plans run by the reference executor, not replayed."""

from dataclasses import replace
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, undelegated
from harness.runtime import config as runtime_config
from harness.runtime import inspect, launch
from harness.runtime.errors import IsoproofError
from harness.runtime.launch import Alteration
from harness.runtime.step import Plan


def make(options: Options) -> Backend:
    """Return the backend; its own defaults are those that all are asked for."""
    options.only(["forked"], executable=False)
    return Builtin("forked" in options.values)


class Builtin(Backend):
    """It is the only one whose plan can be altered."""

    def __init__(self, forked: bool) -> None:
        self._forked = forked

    def available(self) -> str | None:
        """Return why no container can be made here, or None."""
        try:
            inspect.check_machine()
        except IsoproofError as error:
            return str(error)
        return None

    def version(self) -> str:
        """Return the version of the runtime, which is the harness's own."""
        from importlib import metadata

        try:
            return metadata.version("isoproof")
        except metadata.PackageNotFoundError:
            return "from a checkout"

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config cannot be had here."""
        return undelegated(config)

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float, alter: Alteration | None = None) -> Exit:
        """Run a container; `alter` is a sabotage of its plan.

        The config is read strictly: what a scenario asks for with a misspelt name would not be tested at all.
        """

        def unreplayed(plan: Plan) -> Plan:
            return replace(alter(plan) if alter else plan, replay=False)

        altering = unreplayed if self._forked else alter
        try:
            return Exit(launch.run(runtime_config.read(config, strict=True), bundle, io, deadline, altering))
        except IsoproofError as error:
            return Exit(getattr(error, "status", 2), str(error))
