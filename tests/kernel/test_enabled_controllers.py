"""A version 2 cgroup that was told to hand a controller down is told otherwise in the end, by whoever comes last."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from harness.runtime import inspect, leftovers
from harness.runtime.config import Config, read
from harness.runtime.plan import plan
from tests.kernel.bundles import bundle
from tests.kernel.everything import stage
from tests.kernel.test_failure import killed_after
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture
def hierarchy(missing: Callable[[str], NoReturn]) -> Path:
    """Return where version 2 is mounted, with a controller that limits what nobody here uses."""
    for found in inspect.hierarchies(set()):
        if found.version == 2 and "hugetlb" in Path(found.point, "cgroup.subtree_control").read_text().split():
            return Path(found.point)
    missing("no version 2 hierarchy hands hugetlb down from its root")


@contextlib.contextmanager
def living_in(above: Path) -> Iterator[None]:
    """Have this process live in a cgroup below one that hands nothing down."""
    inner = above / "launcher"
    inner.mkdir(parents=True)
    try:
        (inner / "cgroup.procs").write_text(str(os.getpid()))
        yield
    finally:
        (above.parent / "cgroup.procs").write_text(str(os.getpid()))
        inner.rmdir()
        above.rmdir()


def limited(directory: Path) -> Config:
    _, config = bundle(directory, "sh", "-c", "echo .; exec sleep 600")
    config["linux"]["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    return read(config)


def test_what_a_killed_launcher_has_enabled_is_disabled_when_nobody_needs_it(hierarchy: Path) -> None:
    above = hierarchy / f"isoproof-test-{secrets.token_hex(4)}"
    file = above / "cgroup.subtree_control"

    def play() -> tuple[str, list[list[str]], list[str]]:
        with stage("joined"), living_in(above):
            config = limited(Path("/run/limited"))
            steps = plan(config, inspect.host(config, Path("/run/limited"))).steps
            problem = killed_after(Path("/run/limited"), config, "steps", len(steps) - 1)
            enabled = [file.read_text()]
            other = above / "other"
            other.mkdir()
            said = [list(leftovers.remove())]
            enabled.append(file.read_text())
            other.rmdir()
            said.append(list(leftovers.remove()))
            enabled.append(file.read_text())
            return problem, said, enabled

    problem, (first, second), enabled = in_throwaway(play)
    assert problem == ""
    assert enabled == ["hugetlb\n", "hugetlb\n", ""]
    assert f"  left hugetlb in {file}: others live there" in first
    assert second[1:] == [f"  removed hugetlb from {file}"]
