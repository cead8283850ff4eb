"""bubblewrap: what it says and leaves, when it starts a container, refuses one, or is killed at the deadline."""

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from harness.shapes import COMMAND
from tests.kernel.sandboxed import Sandbox, sandbox

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(scope="module", params=["bubblewrap", "bubblewrap:as-shipped"])
def box(request: pytest.FixtureRequest, missing: Callable[[str], NoReturn]) -> Iterator[Sandbox]:
    with sandbox(request.param, missing) as box:
        yield box


def test_a_container_has_its_name_and_gives_its_status(box: Sandbox) -> None:
    answer = box.run({"identity": {"probe": "identity"}}, hostname="other")
    assert answer["inside"]["identity"]["facts"]["hostname"] == "other"
    assert answer["start"]["command"][0].endswith("bwrap")
    assert box.left() == []
    answer = box.say("import sys; print('what is wrong', file=sys.stderr); sys.exit(7)")
    assert (answer["start"]["status"], answer["start"]["refused"]) == (7, False)
    assert answer["start"]["message"] == "what is wrong"


def test_a_refusal_is_told(box: Sandbox) -> None:
    answer = box.run(process={"args": ["/no/such/program", COMMAND]})
    assert answer["start"]["refused"]
    assert answer["start"]["message"] == "execvp /no/such/program: No such file or directory"
    assert box.left() == []


def test_nothing_outlives_the_deadline(box: Sandbox) -> None:
    answer = box.say("import os, time; os.fork() or os.setsid(); time.sleep(60)", deadline=1.0)
    assert answer["start"]["status"] == 124
    assert box.left() == []


def test_a_filter_and_ids_of_its_own(box: Sandbox) -> None:
    maps = [{"containerID": 0, "hostID": 1 << 20, "size": 1 << 16}]
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
    linux = {
        "namespaces": [{"type": kind} for kind in kinds],
        "uidMappings": maps,
        "gidMappings": maps,
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["uname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
        },
    }
    code = "import os, sys; sys.exit(' '.join([str(os.getuid()), *open('/proc/self/uid_map').read().split()]))"
    answer = box.say(code, linux=linux, process={"user": {"uid": 1000, "gid": 1000}})
    assert answer["start"]["message"] == "1000 0 1048576 65536"
    answer = box.say("import os; os.uname()", linux=linux, process={"user": {"uid": 1000, "gid": 1000}})
    assert "OSError: [Errno 95]" in answer["start"]["message"]
