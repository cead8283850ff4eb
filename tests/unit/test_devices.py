"""Devices in the plan, without privileges: which rules are refused, what the right ones come to."""

from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.devicefilter import lines
from harness.runtime.devicefilter import read as read_rules
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Hierarchy, Host

DENY_ALL = {"allow": False, "access": "rwm"}
V1 = Hierarchy("/c/devices", 1, frozenset({"devices"}), "/c/devices", "/c/devices")
V2 = Hierarchy("/c/unified", 2, frozenset(), "/c/unified", "/c/unified")


def char(allow: bool, major: int, minor: int, access: str) -> dict[str, Any]:
    return {"allow": allow, "type": "c", "major": major, "minor": minor, "access": access}


def config(rules: list[dict[str, Any]], devices: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    wanted = example(0, 0)
    wanted["linux"] |= {"resources": {"devices": rules}, "devices": devices or []}
    return read(wanted)


def host(*hierarchies: Hierarchy) -> Host:
    return Host("isoproof-1", "/r", kernel=(6, 18), hierarchies=hierarchies)


def test_a_wider_rule_takes_back_the_narrower_ones_before_it() -> None:
    filter = read_rules(
        config([DENY_ALL, char(True, 10, 200, "rw"), char(True, 10, 229, "rwm"), char(False, 10, -1, "w")])
    )
    written = [text for file, text in lines(filter) if " 10:" in text]
    assert written == ["c 10:200 r", "c 10:229 rm"]
    assert lines(filter)[0] == ("devices.deny", "a")
    assert ("devices.allow", "c 136:* rwm") in lines(filter)


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (
            [DENY_ALL, char(True, 10, -1, "rw"), char(False, 10, 1, "w")],
            r"devices\[2\]: c 10:1 w takes back part of .* c 10:\* rw",
        ),
        ([char(False, 1, -1, "rw")], "c 1:3 rwm takes back part of the earlier rule c 1:"),
        ([{"access": "r"}], r"devices\[0\].allow: missing"),
        ([{"allow": True, "type": "c"}], r"devices\[0\].access: missing"),
        ([{"allow": True, "type": "a", "major": 1}], r"devices\[0\].type: a means all devices"),
        ([{"allow": True, "access": "r"}], r"devices\[0\].type: a means all devices"),
        ([{"allow": True, "type": "u"}], r"devices\[0\].type: expected a known type of device"),
        ([{"allow": True, "access": "rx"}], r"devices\[0\].access: expected some of the letters rwm"),
        ([{"allow": True, "access": "rr"}], r"devices\[0\].access: expected some of the letters rwm"),
        ([char(True, -2, 1, "r")], r"devices\[0\].major: expected a whole number from -1 to 4095"),
    ],
)
def test_a_rule_that_the_kernel_would_not_take_is_refused(rules: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        plan(config(rules), host(V1))


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ({"path": "/dev/x"}, r"devices\[0\].type: missing"),
        ({"type": "c"}, r"devices\[0\].path: missing"),
        ({"type": "c", "path": "/dev/x", "minor": 1}, r"devices\[0\].major: missing"),
        ({"type": "d", "path": "/dev/x"}, r"devices\[0\].type: expected a known type of device"),
        ({"type": "p", "path": "/dev/../etc/x"}, r"devices\[0\].path: not below a /dev"),
        ({"type": "p", "path": "/dev"}, r"devices\[0\].path: not below a /dev"),
        ({"type": "p", "path": "/dev/shm/x"}, r"devices\[0\].path: covered by another mount"),
        ({"type": "p", "path": "/dev/x", "fileMode": 0o10000}, r"devices\[0\].fileMode: expected a whole number"),
    ],
)
def test_a_device_that_cannot_be_made_on_the_own_dev_is_refused(device: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        plan(config([], [device]), host(V1))


def test_a_device_is_refused_where_there_is_no_own_dev() -> None:
    wanted = config([], [{"type": "p", "path": "/dev/x"}])
    wanted["mounts"] = [{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]
    with pytest.raises(ConfigError, match=r"devices\[0\].path: not below a /dev that is a tmpfs"):
        plan(wanted, host(V1))


def test_version_1_is_asked_first_and_version_2_by_a_program() -> None:
    def limited(*hierarchies: Hierarchy) -> list[str]:
        steps = plan(config([DENY_ALL]), host(*hierarchies)).before
        return [str(call) for step in steps if step.name == "limit:devices" for call in step.calls]

    assert limited(V2, V1)[0] == 'openat(AT_FDCWD, "/c/devices/isoproof-1/devices.deny", O_WRONLY|O_CLOEXEC) -> $file'
    program = limited(V2)
    assert program[1].startswith("bpf(BPF_PROG_LOAD, {15, ")
    assert "deny all but c *:* m; b *:* m; c 1:3 rwm" in program[1]
    assert program[2] == "bpf(BPF_PROG_ATTACH, {$cgroup, $program, 6, 2}, 16)"
    with pytest.raises(StartError, match="limit devices: neither the version 1 controller devices nor version 2"):
        limited()


def test_what_the_config_puts_into_dev_itself_is_not_made_too() -> None:
    wanted = config([], [{"type": "c", "path": "/dev/tty", "major": 4, "minor": 1}])
    wanted["mounts"].append({"destination": "/dev/full", "source": "/dev/full", "options": ["bind"]})
    made = [str(call) for step in plan(wanted, host()).steps if step.name == "devices" for call in step.calls]
    assert [call.split('"')[1] for call in made] == ["null", "zero", "random", "urandom", "tty"]
