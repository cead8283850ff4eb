"""containerd, really run in an outer sandbox."""

from collections.abc import Callable
from typing import NoReturn

import pytest

from harness import backends, outer
from tests.kernel.engines import ask, check_runs

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(autouse=True)
def containerd(missing: Callable[[str], NoReturn]) -> None:
    if lacking := backends.load("containerd").available():
        missing(lacking)


def test_it_runs_is_refused_is_ended_and_leaves_nothing() -> None:
    with outer.start() as sandbox:
        check_runs(sandbox, "containerd", "ctr")
        assert ask(sandbox, "containerd:as-shipped")["start"]["ran"]
