"""Where scenarios and probes are: in a checkout beside the harness, in an installed package inside it.

Scenarios that are in the working directory come before those. A file is told by the same name in either case,
`scenarios/uts.yaml`, so that results of a checkout and of an installed isoproof can be compared, and what one prints
can be given to the other.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from harness.errors import BadInput

PACKAGE = Path(__file__).resolve().parent
HOME = PACKAGE if (PACKAGE / "scenarios").is_dir() else PACKAGE.parent
PROBES = HOME / "probes"
SCENARIOS = Path("scenarios")
BESIDE = ("known", "shapes")  # folders of scenarios/ whose files are no scenarios


def scenarios() -> Path:
    """The folder of scenarios in the working directory, or if there are none the one that isoproof brings."""
    return SCENARIOS if any(SCENARIOS.glob("*.yaml")) else HOME / SCENARIOS


def find(name: str) -> Path:
    """The file or folder of a name as `told` gives it; raises BadInput where there is none."""
    path = Path(name)
    if path == SCENARIOS:
        return scenarios()
    ours = path.parts[:1] == SCENARIOS.parts and ".." not in path.parts
    for candidate in (path, HOME / path) if ours else (path,):
        if os.path.exists(candidate):
            return candidate
    raise BadInput(f"open {name}: no such file or directory; name a scenario file or a folder of them")


def told(path: Path) -> str:
    """The name by which a file is told: that of a scenario which isoproof brings says nothing of where it lies."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(HOME)) if absolute.is_relative_to(HOME / SCENARIOS) else str(path)


def scenario_files(paths: Iterable[Path], also: Iterable[str] = ()) -> list[Path]:
    """The files themselves, and the YAML files in folders, also in those of some names there.

    Raises BadInput for a folder without any.
    """
    found: list[Path] = []
    for path in paths:
        folders = [path, *(path / name for name in also)]
        files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))] if path.is_dir() else [path]
        if not files:
            raise BadInput(f"{path}: no scenario files (*.yaml) in it")
        found += files
    return found
