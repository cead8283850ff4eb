"""firejail: what it says and leaves, when it starts a container, refuses one, or is killed at the deadline."""

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from harness.shapes import COMMAND
from tests.kernel.sandboxed import Sandbox, sandbox

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(scope="module", params=["firejail", "firejail:as-shipped"])
def box(request: pytest.FixtureRequest, missing: Callable[[str], NoReturn]) -> Iterator[Sandbox]:
    with sandbox(request.param, missing) as box:
        yield box


def test_it_does_make_a_sandbox_in_a_sandbox(box: Sandbox) -> None:
    """It would run the program as it is where it takes the processes that it sees for those of a sandbox."""
    answer = box.run({"processes": {"probe": "processes"}, "identity": {"probe": "identity"}}, hostname="other")
    inside = {name: entry["facts"] for name, entry in answer["inside"].items()}
    assert inside["processes"]["names"]["1"] == "firejail"
    assert inside["identity"]["hostname"] == "other"
    assert box.left() == []


def test_a_status_is_the_programs(box: Sandbox) -> None:
    answer = box.say("import sys; print('what is wrong', file=sys.stderr); sys.exit(1)")
    assert (answer["start"]["status"], answer["start"]["refused"]) == (1, False)
    assert answer["start"]["message"] == "what is wrong"


def test_a_refusal_is_told(box: Sandbox) -> None:
    answer = box.run(process={"args": ["/no/such/program", COMMAND]})
    assert answer["start"]["refused"]
    assert "/no/such/program" in answer["start"]["message"]
    assert box.left() == []


def test_nothing_outlives_the_deadline(box: Sandbox) -> None:
    answer = box.say("import os, time; os.fork() or os.setsid(); time.sleep(60)", deadline=1.0)
    assert answer["start"]["status"] == 124
    assert box.left() == []
