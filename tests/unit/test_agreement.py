"""What a config asks for: of every field of the table something is claimed, and a claim notices when it is changed."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from harness import agreement
from harness.agreement import CLAIMS, UNJUDGED, asked, differences, seen
from harness.runtime.config import Config, read
from harness.runtime.fields import BRANCHES, FIELDS, KINDS, NAMESPACES
from harness.runtime.kinds import Flag, Kind, Letters, Network, NumberList, OneOf, Whole
from harness.runtime.spec import example

CLAIMED = [claim.path for claim in CLAIMS]
IDS = [{"containerID": 0, "hostID": 1000, "size": 2000}]
DISK = {"major": 254, "minor": 0}
# A config in which every field stands of which something is claimed.
EVERYTHING: Config = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "cell",
    "domainname": "example",
    "process": {
        "args": ["sh"],
        "env": ["A=1"],
        "cwd": "/",
        "terminal": False,
        "consoleSize": {"height": 24, "width": 80},
        "user": {"uid": 5, "gid": 5, "umask": 0o22, "additionalGids": [7]},
        "capabilities": {
            kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}],
        "oomScoreAdj": 5,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 5},
    },
    "mounts": [
        {"destination": "/a", "type": "tmpfs", "source": "a", "options": ["ro"]},
        {
            "destination": "/b",
            "type": "bind",
            "source": "/etc",
            "options": ["rbind"],
            "uidMappings": [{"containerID": 0, "hostID": 1005, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1005, "size": 10}],
        },
    ],
    "linux": {
        "namespaces": [{"type": name} for name in NAMESPACES],
        "uidMappings": IDS,
        "gidMappings": IDS,
        "timeOffsets": {clock: {"secs": 5, "nanosecs": 5} for clock in ("monotonic", "boottime")},
        "veth": [{"name": "eth0", "hostName": "cell0", "address": "10.0.0.2/24"}],
        "personality": {"domain": "LINUX"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "rootfsPropagation": "private",
        "maskedPaths": ["/proc/keys"],
        "readonlyPaths": ["/proc/sys"],
        "sysctl": {"kernel.sem": "1"},
        "devices": [
            {"type": "c", "path": "/dev/x", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 5},
        ],
        "cgroupsPath": "cell",
        "resources": {
            "memory": {
                "limit": 1 << 30,
                "swap": 1 << 31,
                "reservation": 1 << 29,
                "swappiness": 5,
                "disableOOMKiller": True,
                "kernelTCP": 1 << 20,
            },
            "pids": {"limit": 5},
            "cpu": {
                "quota": 5000,
                "period": 5000,
                "burst": 5,
                "realtimePeriod": 5,
                "realtimeRuntime": 5,
                "shares": 5,
                "idle": 1,
                "cpus": "0",
                "mems": "0",
            },
            "blockIO": {
                f"throttle{what}Device": [{**DISK, "rate": 5}]
                for what in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
            },
            "unified": {"cgroup.max.depth": "5"},
        },
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    },
    "annotations": {"isoproof.init": "true"},
}


def within(path: str, sections: list[str]) -> str:
    """The innermost of the sections that a field is in, or nothing."""
    found = [section for section in sections if path == section or path.startswith((f"{section}.", f"{section}["))]
    return max(found, key=len, default="")


JUDGED = [field.path for field in FIELDS if len(within(field.path, CLAIMED)) > len(within(field.path, [*UNJUDGED]))]


@pytest.mark.parametrize("path", [field.path for field in FIELDS])
def test_something_is_claimed_of_a_field_or_there_is_a_reason(path: str) -> None:
    assert within(path, [*CLAIMED, *UNJUDGED])


def test_reasons_and_claims_are_about_fields_that_there_are() -> None:
    for section in (*CLAIMED, *UNJUDGED):
        assert any(within(field.path, [section]) for field in FIELDS), section


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value of a config that is one of the table's: its path there, what it is in, and its key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        dot = "." if path else ""
        names = [f"{path}[]"] if isinstance(key, int) else [f"{path}{dot}{key}", f"{path}{dot}*"]
        inner = next(name for name in names if name in KINDS or name in BRANCHES)
        if inner in KINDS:
            yield inner, value, key
        else:
            yield from leaves(item, inner)


def others(kind: Kind) -> list[Any]:
    """Some values of a kind, of which at least one is another than that of the example."""
    match kind:
        case Flag():
            return [True, False]
        case Whole():
            return [kind.low, min(kind.high, kind.low + 7), kind.high]
        case OneOf():
            return list(kind.names)
        case NumberList():
            return ["", "1"]
        case Network():
            return ["10.0.0.3/24"]
        case Letters():
            return ["", kind.letters]
        case _:
            return ["false", "nodev", "/dev/other", "/other", "B=2"]


@pytest.mark.parametrize("wanted", JUDGED)
def test_a_claim_notices_the_field_that_it_is_about(wanted: str) -> None:
    config = copy.deepcopy(EVERYTHING)
    if wanted.startswith("process.consoleSize"):
        config["process"]["terminal"] = True  # without one there is no size
    before = copy.deepcopy(asked(config))
    for path, place, key in leaves(config):
        if path == wanted:
            was = place[key]
            for other in others(KINDS[path]):
                place[key] = other
                try:
                    if asked(config) != before:
                        return
                except (KeyError, ValueError):  # it has become a config that nobody would read
                    pass
            place[key] = was
    pytest.fail(f"whatever {wanted} says, the same is asked for", pytrace=False)


def test_the_example_is_a_config() -> None:
    assert read(EVERYTHING, strict=True) == EVERYTHING


def test_of_the_usual_config_everything_can_be_looked_at_with_a_few_probes() -> None:
    config = example(0, 0)
    wanted = agreement.request("builtin", config)
    assert set(wanted["host"]) == {"namespaces"}
    assert {"init", "identity", "capabilities", "mounts"} <= set(wanted["inside"])
    assert "stay" not in wanted["inside"]


def test_what_no_probe_has_seen_is_told_in_its_words() -> None:
    answer = {"inside": {"identity": {"error": "hung: no report after 5 s"}}, "host": {}}
    found = seen(answer, example(0, 0))
    assert found["process.user.uid"] == "not seen: hung: no report after 5 s"
    assert found["process.cwd"] == "not seen: 'attributes'"


def test_a_difference_is_told_where_both_say_something() -> None:
    left, right = {"a": 1, "b": [2], "c": 3}, {"a": 1, "b": [], "d": 4}
    assert differences(left, right) == [("b", [2], [])]
    assert differences(left, left) == []
