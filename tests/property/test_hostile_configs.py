"""Whatever stands in a config.json: it is refused with a line about a place in it, or planned; and soon."""

import copy
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.runtime.config import read, read_file
from harness.runtime.errors import BadInput, ConfigError, StartError
from harness.runtime.fields import FIELDS, KINDS
from harness.runtime.kinds import Kind, OneOf, Whole
from harness.runtime.plan import explain, plan
from harness.runtime.spec import example as spec
from harness.runtime.step import Hierarchy, Host
from harness.wrong_values import parts_of, place
from tests.property.hostile import assert_lines, in_time, mutated

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PATIENCE = 20  # seconds for one config, on a machine that is busy
THOUSANDS = 5000
MOMENT = 4.0  # seconds of the processor, which are ten times more than any of them takes

ID = {"containerID": 0, "hostID": 1 << 20, "size": 1 << 16}
RICH: dict[str, Any] = {
    "hostname": "cell",
    "domainname": "example",
    "annotations": {"org.example": "x"},
    "process": {
        "args": ["/bin/sh", "-c", "true"],
        "env": ["PATH=/bin", "A=b"],
        "cwd": "/",
        "user": {"uid": 1, "gid": 2, "umask": 0o22, "additionalGids": [3, 4]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "capabilities": {name: ["CAP_CHOWN", "CAP_KILL"] for name in ("bounding", "effective", "permitted")},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
        "landlock": {
            "ruleset": {"handledAccessFS": ["execute"], "handledAccessNet": ["bind_tcp"], "scoped": ["signal"]},
            "rules": {
                "pathBeneath": [{"paths": ["/"], "allowedAccess": ["execute"]}],
                "netPort": [{"port": 80, "allowedAccess": ["bind_tcp"]}],
            },
        },
    },
    "hooks": {"poststop": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 1}]},
    "linux": {
        "namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "ipc", "network", "cgroup", "time", "user")],
        "uidMappings": [ID],
        "gidMappings": [ID],
        "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
        "veth": [{"name": "eth0", "address": "10.0.0.2/24", "gateway": "10.0.0.1", "hostName": "cell0"}],
        "sysctl": {"net.ipv4.ip_forward": "0", "kernel.msgmax": "4096"},
        "cgroupsPath": "isoproof-test",
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 0}],
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 1 << 26, "swap": 1 << 27},
            "pids": {"limit": 10},
            "cpu": {"quota": 1000, "period": 10000, "cpus": "0-1"},
        },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {
                    "names": ["ioctl"],
                    "action": "SCMP_ACT_KILL",
                    "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}],
                },
            ],
        },
    },
}
BASES = st.sampled_from([spec(0, 0), spec(1000, 1000), spec(0, 0) | RICH])
HOST = Host(
    "isoproof-1",
    "/r",
    kernel=(6, 18),
    landlock=6,
    hierarchies=(Hierarchy("/c", 2, frozenset("memory pids cpu cpuset io hugetlb rdma".split()), "/c/me", "/c/me"),),
)


def outcome(config: Any, strict: bool = False) -> str:
    """Read and plan a config, and return what is said of it, if it is refused."""
    try:
        with in_time(PATIENCE):
            wanted = read(config, strict)
            assert read(wanted, strict) == wanted
            assert explain(plan(wanted, HOST))
    except (ConfigError, StartError) as error:
        return str(error)
    return ""


def assert_it_leads_into_it(said: str) -> None:
    """Each line names a field of a config, and says what is wrong with it."""
    assert_lines(said)
    for line in said.split("\n"):
        assert re.match(r"config\.json: (?:.+: \S|there are more than 100 unknown fields)", line), line


def test_the_rich_config_is_taken_as_it_is() -> None:
    assert outcome(spec(0, 0) | RICH, strict=True) == ""


@given(mutated(BASES), st.booleans())
def test_a_changed_config_is_planned_or_refused_by_name(config: Any, strict: bool) -> None:
    if said := outcome(config, strict):
        assert_it_leads_into_it(said)
        assert strict or "\n" not in said


@given(mutated(BASES))
def test_from_a_file_it_is_the_same(tmp_path_factory: pytest.TempPathFactory, config: Any) -> None:
    path: Path = tmp_path_factory.mktemp("bundle") / "config.json"
    try:
        path.write_text(json.dumps(config))
    except ValueError:
        return  # an integer that Python does not write out
    try:
        with in_time(PATIENCE):
            from_file: Any = read_file(path)
    except BadInput as error:
        said = str(error)
    else:
        assert from_file == read(json.loads(path.read_text()))
        return
    assert_lines(said)
    assert str(path) in said


def right_value(kind: Kind, number: int) -> Any:
    """Return a value that a field of this kind may have, if possible another for each number."""
    if isinstance(kind, OneOf):
        return kind.names[number % len(kind.names)]
    if isinstance(kind, Whole):
        return min(kind.low + number, kind.high)
    texts = (f"/dev/x{number}=", f"eth{number}", str(number), f"10.0.{number >> 8}.{number & 255}")
    return next((value for value in (*texts, "10.0.0.1/8", "r", True) if kind.accepts(value)), None)


def crowded(path: str, many: int) -> Any:
    """Return a config in which the list or map that a path leads through last has many entries."""
    config = spec(0, 0) | copy.deepcopy(RICH)
    kind = KINDS[path]
    if path.startswith("mounts"):
        del config["linux"]["devices"]  # which need a mount that is not among these
    place(config, path, right_value(kind, 0))
    before, sign, rest = re.fullmatch(r"(.*)(\[\]|\.\*)(.*)", path, re.DOTALL).groups()  # type: ignore[union-attr]
    here: Any = config
    for part in parts_of(before):
        here = here[part]
    first = here[0] if sign == "[]" else here["name"]
    entries = [copy.deepcopy(first) for _ in range(many)]
    for number, entry in enumerate(entries):
        if rest:
            place(entry, rest.removeprefix("."), right_value(kind, number))
        else:
            entries[number] = right_value(kind, number)
    if sign == "[]":
        here[:] = entries
    else:
        here |= {f"name{number}": entry for number, entry in enumerate(entries)}
    return config


def crowds() -> list[str]:
    """One path for each list and each map of the table, that leads into it."""
    found: dict[str, str] = {}
    for path in (field.path for field in FIELDS):
        before, sign, _ = path.rpartition("[]") if "[]" in path else path.rpartition(".*")
        if sign:
            found.setdefault(before, path)
    return list(found.values())


@pytest.mark.parametrize("path", crowds())
def test_thousands_of_entries_are_planned_or_refused_soon(path: str) -> None:
    """Found by it: each mount asked anew for the names of all others, which is a minute for five thousand."""
    config = crowded(path, THOUSANDS)
    begin = time.process_time()
    if said := outcome(config, strict=True):
        assert_it_leads_into_it(said)
    assert time.process_time() - begin < MOMENT


@pytest.mark.parametrize("strict", [False, True])
def test_fields_that_nobody_knows_cost_nothing(strict: bool) -> None:
    """Found by hand: for each of them it was looked up what may have been meant, a millisecond each."""
    config = spec(0, 0) | {f"unknown{number}": 1 for number in range(100_000)}
    lines = outcome(config, strict).splitlines()
    assert len(lines) == (101 if strict else 0)
    assert lines[-1:] == (["config.json: there are more than 100 unknown fields in it"] if strict else [])


def test_ambient_capabilities_cost_nothing_however_often_they_are_named() -> None:
    """Found by hand: each was looked for in two lists."""
    sets = {"ambient": ["CAP_KILL"], "permitted": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"]}
    config = spec(0, 0)
    config["process"]["capabilities"] = {name: found * 50_000 for name, found in sets.items()}
    outcome(config)
