"""`isoproof run BUNDLE [-- COMMAND]`: the runtime as a command."""

import sys
from pathlib import Path

from harness.runtime import inspect, launch, stored
from harness.runtime.config import Config, powerless, read, read_file
from harness.runtime.errors import BundleError
from harness.runtime.plan import Times, explain, plan


def load(bundle: Path, command: list[str], strict: bool = False) -> Config:
    """Read the config of a bundle, with another command in the place of its own where one is given.

    What it asks for in vain is warned about on stderr; where it is read strictly that is an error, as is a field that
    nobody knows.

    Raises BundleError, ConfigError.
    """
    if not bundle.is_dir():
        raise BundleError(f"open {bundle}: no such bundle; a bundle is a directory with a config.json and a root")
    path = bundle / "config.json"
    config = read_file(path, strict)
    if command:
        config["process"]["args"] = command
        read(config)
    for line in powerless(config):
        print(f"isoproof: {line.replace('config.json', str(path), 1)}", file=sys.stderr)
    return config


def show_plan(bundle: Path, command: list[str], strict: bool = False, times: Times | None = None) -> int:
    """Print the plan instead of running it, with the time that each step takes where that is known."""
    config = load(bundle, command, strict)
    print(explain(plan(config, inspect.host(config, bundle)), times))
    return 0


def run(bundle: Path, command: list[str], deadline: float | None = None, strict: bool = False) -> int:
    """Run a bundle with this process's own streams, and return the exit status of its program.

    Raises BadInput before anything has been done, StartError for a failed start.
    """
    known = stored.facts(bundle, command)
    with launch.prepared(load(bundle, command, strict), bundle) as container:
        status = container.run((0, 1, 2), deadline, pass_signals=True)
    stored.keep(container, bundle, command, known)
    return status
