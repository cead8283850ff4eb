"""`isoproof verify`: pytest on the scenarios that are here, or else on those that isoproof brings.

What configures pytest around the working directory is for other tests, and left alone: the settings are those of
harness/verify.ini, and no conftest.py is loaded. What the user says is heeded: options, and PYTEST_ADDOPTS.
"""

import itertools
import os
import sys
from pathlib import Path

from harness import places

SETTINGS = places.PACKAGE / "verify.ini"


def command(words: list[str]) -> list[str]:
    """The command that verifies: first the scenarios, `scenarios/uts.yaml::uts-ns-differs[builtin]`, then options.

    Raises BadInput for what is no scenario.
    """
    named = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    parts = [word.partition("::") for word in named or [str(places.SCENARIOS)]]
    found = [places.find(name) for name, _, _ in parts]
    places.scenario_files(found)  # or pytest would say no more than that there is nothing to run
    paths = [Path(os.path.abspath(path)) for path in found]
    folders = [path if path.is_dir() else path.parent for path in paths]
    root = os.path.commonpath(map(_root, folders))
    return [
        *(sys.executable, "-m", "pytest"),
        *("-c", str(SETTINGS), "--rootdir", root),
        *("--noconftest", "--confcutdir", os.path.commonpath(folders)),  # nor a folder above loaded as a package
        *("-o", f"cache_dir={Path('.pytest_cache').absolute()}"),
        *(f"{path}{colons}{item}" for path, (_, colons, item) in zip(paths, parts, strict=True)),
        *words[len(named) :],
    ]


def _root(folder: Path) -> Path:
    """The folder from which pytest names the items of those scenarios."""
    return next((base for base in (places.HOME, Path.cwd()) if folder.is_relative_to(base)), folder)
