"""bubblewrap, firejail and systemd-nspawn: what they say and leave when they start a container, refuse or kill it."""

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from harness import backends, outer
from harness.shapes import COMMAND
from tests.kernel.sandboxed import Sandbox

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")
BUBBLEWRAP, FIREJAIL = ("bubblewrap", "bubblewrap:as-shipped"), ("firejail", "firejail:as-shipped")
TOLD = "execvp /no/such/program: No such file or directory"


@pytest.fixture(scope="module", params=[*BUBBLEWRAP, *FIREJAIL, "nspawn"])
def box(request: pytest.FixtureRequest, missing: Callable[[str], NoReturn]) -> Iterator[Sandbox]:
    if reason := backends.load(request.param).available():
        missing(reason)
    with outer.start() as host:
        yield Sandbox(host, request.param)


def test_a_status_is_the_programs(box: Sandbox) -> None:
    answer = box.say("import sys; print('what is wrong', file=sys.stderr); sys.exit(1)")
    assert (answer["start"]["status"], answer["start"]["refused"]) == (1, False)
    assert answer["start"]["message"] == "what is wrong"


def test_a_refusal_is_told(box: Sandbox) -> None:
    answer = box.run(process={"args": ["/no/such/program", COMMAND]})
    assert answer["start"]["refused"]
    message = answer["start"]["message"]
    assert message == TOLD if box.runtime in BUBBLEWRAP else "/no/such/program" in message
    assert box.left() == []


def test_nothing_outlives_the_deadline(box: Sandbox) -> None:
    answer = box.say("import os, time; os.fork() or os.setsid(); time.sleep(60)", deadline=1.0)
    assert answer["start"]["status"] == 124
    assert box.left() == []


@pytest.mark.parametrize("box", BUBBLEWRAP, indirect=True)
def test_bubblewraps_container_has_its_name(box: Sandbox) -> None:
    answer = box.run({"identity": {"probe": "identity"}}, hostname="other")
    assert answer["inside"]["identity"]["facts"]["hostname"] == "other"
    assert answer["start"]["command"][0].endswith("bwrap")
    assert box.left() == []


@pytest.mark.parametrize("box", BUBBLEWRAP, indirect=True)
def test_bubblewraps_has_a_filter_and_ids_of_its_own(box: Sandbox) -> None:
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


@pytest.mark.parametrize("box", FIREJAIL, indirect=True)
def test_firejail_does_make_a_sandbox_in_a_sandbox(box: Sandbox) -> None:
    """It would run the program as it is where it takes the processes that it sees for those of a sandbox."""
    answer = box.run({"processes": {"probe": "processes"}, "identity": {"probe": "identity"}}, hostname="other")
    inside = {name: entry["facts"] for name, entry in answer["inside"].items()}
    assert inside["processes"]["names"]["1"] == "firejail"
    assert inside["identity"]["hostname"] == "other"
    assert box.left() == []


@pytest.mark.parametrize("box", ["nspawn"], indirect=True)
def test_nspawns_container_is_as_its_bundle_and_its_options_say(box: Sandbox) -> None:
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
