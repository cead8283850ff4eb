"""Podman, really run in an outer sandbox, as root and as an ordinary user."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from harness import backends, outer
from harness.backends.podman import FIRST_ID, ID, IDS
from tests.kernel.engines import ask, check_runs

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(autouse=True)
def podman(missing: Callable[[str], NoReturn]) -> None:
    if lacking := backends.load("podman:rootless").available():
        missing(lacking)


def test_it_runs_is_refused_is_ended_and_leaves_nothing() -> None:
    with outer.start() as sandbox:
        check_runs(sandbox, "podman", "podman")


def test_so_it_is_as_an_ordinary_user_who_has_subordinate_ids() -> None:
    maps = {"maps": {"probe": "id_maps", "args": {}, "deadline": 10.0}}
    with outer.start() as sandbox:
        check_runs(sandbox, "podman:rootless", "podman")
        answer = ask(sandbox, "podman:rootless", inside=maps)
    assert answer["inside"]["maps"]["facts"]["uid"] == [[0, ID, 1], [1, FIRST_ID, IDS]]
