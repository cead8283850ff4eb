"""Our own runtime, in this process."""

from pathlib import Path

from harness.backends import Config, Exit, Streams, cgroups_writable
from harness.runtime import config as runtime_config
from harness.runtime import inspect, launch
from harness.runtime.cgroup import wanted
from harness.runtime.errors import IsoproofError
from harness.runtime.launch import Alteration


def available() -> str | None:
    """Return why no container can be made here, or None."""
    try:
        inspect.check_machine()
    except IsoproofError as error:
        return str(error)
    return None


def version() -> str:
    """Return the version of the runtime, which is the harness's own."""
    from importlib import metadata

    try:
        return metadata.version("isoproof")
    except metadata.PackageNotFoundError:
        return "from a checkout"


def unsupported(config: Config) -> list[str]:
    """Return what of a config cannot be had here."""
    if wanted(config) and not cgroups_writable(config):
        return ["cgroups, which are not delegated to this user"]
    return []


def run(config: Config, bundle: Path, io: Streams, deadline: float, alter: Alteration | None = None) -> Exit:
    """Run a container; `alter` is a sabotage of its plan.

    The config is read strictly: what a scenario asks for with a misspelt name would not be tested at all.
    """
    try:
        return Exit(launch.run(runtime_config.read(config, strict=True), bundle, io, deadline, alter))
    except IsoproofError as error:
        return Exit(getattr(error, "status", 2), str(error))
