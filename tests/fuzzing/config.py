"""A config.json: it is planned, or refused with one line about a field of it; read strictly, with a line for each."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.runtime.config import read, read_file
from harness.runtime.errors import BadInput, StartError
from harness.runtime.fields import FIELDS
from harness.runtime.kinds import OneOf
from harness.runtime.plan import explain, plan
from harness.runtime.spec import example
from harness.scenario import load_shape
from harness.shapes import config
from tests.fuzzing.yamlfile import SCENARIOS
from tests.property.test_hostile_configs import HOST, RICH

PLACE = tempfile.TemporaryDirectory(prefix="isoproof-fuzzing-")
FILE = Path(PLACE.name) / "config.json"


def seeds() -> Iterator[bytes]:
    yield json.dumps(example(0, 0) | RICH).encode()
    yield json.dumps(example(1000, 1000)).encode()
    for path in sorted((SCENARIOS / "shapes").glob("*.yaml")):
        found = config([load_shape(path).container], 0, 0)
        if "seccomp" in found["linux"]:
            found["linux"]["seccomp"]["syscalls"] = found["linux"]["seccomp"]["syscalls"][-1:]  # it is long
        yield json.dumps(found).encode()


def words() -> Iterator[str]:
    for field in FIELDS:
        yield from field.path.replace("[]", "").replace("*", "").split(".")
        if isinstance(field.kind, OneOf):
            yield from field.kind.names
    yield from '{ } [ ] : , " true false null 0 -1 1e9 \\u0000 \\ud800 18446744073709551615 "name": "type":'.split()


def once(data: bytes) -> None:
    FILE.write_bytes(data)
    for strict in (False, True):
        said = refusal(strict)
        assert all(line.isprintable() for line in said.split("\n")), ascii(said)
        assert strict or "\n" not in said


def refusal(strict: bool) -> str:
    """What is said of the file, if it is refused."""
    try:
        wanted = read_file(FILE, strict)
        assert read(wanted, strict) == wanted
        assert explain(plan(wanted, HOST))
    except (BadInput, StartError) as error:
        return str(error)
    return ""
