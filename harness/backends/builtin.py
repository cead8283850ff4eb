"""Our own runtime, in this process."""

from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, undelegated
from harness.runtime import config as runtime_config
from harness.runtime import inspect, launch
from harness.runtime.errors import IsoproofError
from harness.runtime.launch import Alteration


def make(options: Options) -> Backend:
    """Return the backend; its own defaults are those that all are asked for."""
    options.only(executable=False)
    return Builtin()


class Builtin(Backend):
    """It is the only one whose plan can be altered."""

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
        try:
            return Exit(launch.run(runtime_config.read(config, strict=True), bundle, io, deadline, alter))
        except IsoproofError as error:
            return Exit(getattr(error, "status", 2), str(error))
