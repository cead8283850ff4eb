"""YAML, and what the scenario language makes of it: a scenario, or a line for each mistake."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from harness import yamlfile
from harness.errors import ScenarioError
from harness.language import CheckEntry, Container, File, Known, Shape
from harness.scenario import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SHORT = 1000  # bytes
LINE = re.compile(r".*/scenarios/a\.yaml:[1-9][0-9]*:[1-9][0-9]*: \S.*")
INDICATORS = "--- ... ? : - , [ ] { } # & * ! | > ' \" % @ ` << !! &a *a %YAML %TAG \\x \\u \\N |- >+ 0o 0x .inf .nan ~"
PLACE = tempfile.TemporaryDirectory(prefix="isoproof-fuzzing-")
FILE = Path(PLACE.name) / "scenarios" / "a.yaml"
FILE.parent.mkdir()
(FILE.parent / "shapes").symlink_to(SCENARIOS / "shapes")


def seeds() -> Iterator[bytes]:
    for path in sorted(SCENARIOS.rglob("*.yaml")):
        yield path.read_bytes()[:2000]  # the end of a longer file is missing, which is a mistake like any other


def words() -> Iterator[str]:
    yield from INDICATORS.split()
    for kind in (File, CheckEntry, Container, Known, Shape):
        yield from kind.__struct_fields__


def once(data: bytes) -> None:
    FILE.write_bytes(data)
    for loader in ("SafeLoader", "CSafeLoader")[len(data) > SHORT :]:  # only the slow one's lines can be followed
        yamlfile.LOADER = getattr(yaml, loader)
        try:
            load(FILE)
        except ScenarioError as error:
            for line in str(error).split("\n"):
                assert LINE.fullmatch(line), line
                assert line.isprintable()
