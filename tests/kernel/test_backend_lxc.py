"""LXC, really run in an outer sandbox: its status, what it refuses, its deadline, and that it leaves nothing."""

import os
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from harness import backends, outer, shapes
from harness.language import Container
from harness.launches import config
from tests.kernel.engines import ABSENT, BUSY, NAMES, Answer

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(autouse=True)
def lxc(missing: Callable[[str], NoReturn]) -> None:
    if lacking := backends.load("lxc").available():
        missing(lacking)


def ask(
    sandbox: outer.Outer, runtime: str = "lxc", deadline: float = 30.0, inside: Answer = NAMES, **patch: Any
) -> Answer:
    """What becomes of a container; what its host had before and has afterwards must be the same."""
    wanted = config(Container(hostname="lxc-cell", oci=patch or None))
    init = {"init": {"probe": "init", "args": {}, "deadline": 10.0}}
    snapshot = {"probe": "host_snapshot", "args": {"rootfs": "container.rootfs"}, "deadline": 10.0}
    request = {"runtime": runtime, "config": wanted, "inside": init | inside}
    answer = sandbox.run(request | {"host": {"then": snapshot}, "host_after": {"then": snapshot}}, deadline)
    assert answer["host_after"]["then"]["facts"] == answer["host"]["then"]["facts"]
    assert answer["container"]["survivors"] == 0
    return answer


def test_it_runs_and_leaves_nothing() -> None:
    with outer.start() as sandbox:
        answer = ask(sandbox)
    assert answer["start"]["ran"], answer["start"]
    assert answer["start"]["status"] == 0
    assert answer["inside"]["hostname"]["facts"]["hostname"] == "lxc-cell"
    assert os.path.basename(answer["start"]["command"][0]) == "lxc-execute"


def test_it_is_said_why_a_container_is_refused() -> None:
    with outer.start() as sandbox:
        answer = ask(sandbox, mounts=[*shapes.config([Container()], 0, 0)["mounts"], ABSENT])
    assert answer["start"]["refused"]
    assert "Failed to mount" in answer["start"]["message"]


def test_a_container_that_does_not_end_is_ended() -> None:
    with outer.start() as sandbox:
        assert "error" in ask(sandbox, deadline=2.0, inside=BUSY)["inside"]["burn"]
        assert ask(sandbox)["start"]["ran"]


def test_as_shipped_it_has_the_bridge_that_its_defaults_join() -> None:
    network = {"network": {"probe": "network", "args": {}, "deadline": 10.0}}
    with outer.start() as sandbox:
        answer = ask(sandbox, "lxc:as-shipped", inside=network)
        assert answer["start"]["ran"], answer["start"]
        assert answer["inside"]["network"]["facts"]["names"] == ["eth0", "lo"]
