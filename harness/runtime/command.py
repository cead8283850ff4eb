"""`isoproof run BUNDLE [-- COMMAND]`: the runtime as a command."""

from pathlib import Path

from harness.runtime import inspect, launch
from harness.runtime.config import Config, read, read_file
from harness.runtime.errors import BundleError
from harness.runtime.plan import explain, plan


def load(bundle: Path, command: list[str]) -> Config:
    """Read the config of a bundle, with another command in the place of its own where one is given.

    Raises BundleError, ConfigError.
    """
    if not bundle.is_dir():
        raise BundleError(f"open {bundle}: no such bundle; a bundle is a directory with a config.json and a root")
    config = read_file(bundle / "config.json")
    if command:
        config["process"]["args"] = command
        read(config)
    return config


def show_plan(bundle: Path, command: list[str]) -> int:
    """Print the plan instead of running it."""
    config = load(bundle, command)
    print(explain(plan(config, inspect.host(config, bundle))))
    return 0


def run(bundle: Path, command: list[str], deadline: float | None = None) -> int:
    """Run a bundle with this process's own streams, and return the exit status of its program.

    Raises BadInput before anything has been done, StartError for a failed start.
    """
    return launch.run(load(bundle, command), bundle, (0, 1, 2), deadline, pass_signals=True)
