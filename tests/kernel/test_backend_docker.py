"""Docker, really run in an outer sandbox."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from harness import backends, outer
from harness.backends.docker import FIRST_ID, IDS
from harness.runtime.spec import NAMESPACES
from tests.kernel.engines import ask, check_runs

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(autouse=True)
def docker(missing: Callable[[str], NoReturn]) -> None:
    if lacking := backends.load("docker").available():
        missing(lacking)


def test_it_runs_is_refused_is_ended_and_leaves_nothing() -> None:
    mapping = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
    kinds = [{"type": kind} for kind in (*NAMESPACES, "user")]
    linux = {"namespaces": kinds, "uidMappings": mapping, "gidMappings": mapping}
    maps = {"maps": {"probe": "id_maps", "args": {}, "deadline": 10.0}}
    with outer.start() as sandbox:
        check_runs(sandbox, "docker", "docker")
        mapped = ask(sandbox, "docker", inside=maps, linux=linux)
    assert mapped["inside"]["maps"]["facts"]["uid"] == [[0, FIRST_ID, IDS]]
