"""systemd-nspawn: what it says and leaves, when it starts a container, refuses one, or is killed at the deadline."""

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from harness.shapes import COMMAND
from tests.kernel.sandboxed import Sandbox, sandbox

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(scope="module")
def box(missing: Callable[[str], NoReturn]) -> Iterator[Sandbox]:
    with sandbox("nspawn", missing) as box:
        yield box


def test_a_container_is_as_its_bundle_and_its_options_say(box: Sandbox) -> None:
    answer = box.run(
        {"identity": {"probe": "identity"}, "capabilities": {"probe": "capabilities"}, "groups": {"probe": "groups"}},
        hostname="other",
        process={"user": {"uid": 1000, "gid": 1000, "additionalGids": [5]}},
    )
    inside = {name: entry["facts"] for name, entry in answer["inside"].items()}
    assert inside["identity"]["hostname"] == "other"
    assert inside["capabilities"]["first"]["no_new_privileges"] == 1
    assert inside["groups"]["groups"] == [5]
    assert "systemd-nspawn" in " ".join(answer["start"]["command"])
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
