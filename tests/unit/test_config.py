"""Reading a config: what is right passes unchanged, what is wrong gets one line that names the field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import FIELDS, UNSUPPORTED, read, read_file
from harness.runtime.errors import BundleError, ConfigError
from harness.runtime.mounts import check
from harness.runtime.spec import example
from harness.runtime.step import Host

MAP = [{"containerID": 0, "hostID": 1000, "size": 1}]


def config() -> dict[str, Any]:
    return example(0, 0)


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the example with one value changed; numbers in the path are list indexes."""
    result = copy.deepcopy(config())
    here: Any = result
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        here = here[part] if isinstance(part, int) else here.setdefault(part, {})
    here[last] = value
    return result


def test_the_example_is_a_config_for_root_and_for_an_ordinary_user() -> None:
    for uid in (0, 1000):
        wanted = example(uid, uid)
        assert read(copy.deepcopy(wanted)) == wanted


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("hostnme", "x", "config.json: hostnme: unknown field; did you mean hostname?"),
        ("hostname", 5, "config.json: hostname: expected a text without NUL or half a surrogate pair, found 5"),
        ("hostname", "a\0b", "config.json: hostname: expected a text without NUL"),
        ("hostname", "a\udcff", "config.json: hostname: expected a text without NUL or half a surrogate pair, found"),
        ("hostname", "x" * 65, "config.json: hostname: longer than the 64 bytes that the kernel takes"),
        ("root", [], "config.json: root: expected an object, found a list"),
        ("root/path", "", "config.json: root.path: missing"),
        ("process/args", "sh", 'config.json: process.args: expected a list, found "sh"'),
        ("process/args", [], "config.json: process.args: missing"),
        ("process/env", ["PATH"], 'config.json: process.env[0]: expected a text NAME=value, found "PATH"'),
        ("process/cwd", "tmp", "config.json: process.cwd: expected an absolute path"),
        ("process/terminal", True, "config.json: process.terminal: expected false (a terminal of its own is not supp"),
        (
            "process/user/uid",
            -1,
            "config.json: process.user.uid: expected a whole number from 0 to 4294967294, found -1",
        ),
        (
            "process/user/uid",
            True,
            "config.json: process.user.uid: expected a whole number from 0 to 4294967294, found true",
        ),
        (
            "process/user/uid",
            1.5,
            "config.json: process.user.uid: expected a whole number from 0 to 4294967294, found 1.5",
        ),
        ("process/capabilities/bounding", ["CAP_FLY"], "process.capabilities.bounding[0]: expected a known capability"),
        (
            "process/rlimits",
            [{"type": "RLIMIT_JOY", "soft": 1, "hard": 1}],
            "process.rlimits[0].type: expected a known rl",
        ),
        ("process/rlimits", [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], "rlimits[0].soft: above the hard limit"),
        ("process/rlimits", [{"type": "RLIMIT_CPU"}], "process.rlimits[0]: needs type, soft and hard"),
        (
            "linux/namespaces",
            [{"type": "astral"}],
            'linux.namespaces[0].type: expected a known namespace, found "astral"',
        ),
        ("linux/namespaces", [{}], "config.json: linux.namespaces: an entry has no type"),
        ("linux/namespaces", [{"type": "pid"}] * 2, "config.json: linux.namespaces: pid is listed twice"),
        ("linux/namespaces", [{"type": "uts"}], "config.json: linux.namespaces: mount is missing"),
        ("linux/namespaces", [{"type": "mount"}], "config.json: hostname: needs a namespace of type uts"),
        (
            "linux/uidMappings",
            [{"containerID": 0}],
            "linux.uidMappings: has no effect without a new namespace of type user",
        ),
        ("linux/seccomp/listenerPath", "/x", "linux.seccomp.listenerPath: this runtime does not support it yet; take"),
        ("linux/seccomp/defaultAction", "ALLOW", "linux.seccomp.defaultAction: expected a known action, found"),
        ("linux/seccomp/defaultErrnoRet", 4096, "defaultErrnoRet: expected a whole number from 0 to 4095, found 4096"),
        ("linux/seccomp/architectures", ["SCMP_ARCH_Z80"], "architectures[0]: expected a known architecture, found"),
        ("linux/seccomp/flags", ["TSYNC"], 'linux.seccomp.flags[0]: expected a known flag, found "TSYNC"'),
        ("linux/seccomp/syscalls", [{"names": "read"}], "linux.seccomp.syscalls[0].names: expected a list, found"),
        (
            "linux/seccomp/syscalls",
            [{"args": [{"index": 6}]}],
            "syscalls[0].args[0].index: expected a whole number from 0 to 5",
        ),
        ("linux/seccomp/syscalls", [{"args": [{"op": "=="}]}], "args[0].op: expected a known operator"),
        ("linux/seccomp/syscalls", [{"args": [{"value": -1}]}], "args[0].value: expected a whole number from 0 to"),
        (
            "process/scheduler",
            {"policy": "SCHED_ISO"},
            'process.scheduler.policy: expected a known scheduling policy, found "SCHED_ISO"',
        ),
        ("process/scheduler", {"nice": 1}, "config.json: process.scheduler: needs policy"),
        ("process/scheduler/nice", 20, "config.json: process.scheduler.nice: expected a whole number from -20 to 19"),
        ("process/ioPriority", {"class": "IOPRIO_CLASS_BE"}, "config.json: process.ioPriority: needs class and prior"),
        ("process/ioPriority/priority", 8, "process.ioPriority.priority: expected a whole number from 0 to 7, found 8"),
        ("linux/personality", {}, "config.json: linux.personality: needs domain"),
        ("linux/personality/flags", [], "config.json: linux.personality.flags: this runtime does not support it yet"),
        ("process/execCPUAffinity", {}, "config.json: process.execCPUAffinity: this runtime does not support it yet"),
        (
            "linux/namespaces",
            [{"type": "mount", "path": "/proc/1/ns/mnt"}],
            "linux.namespaces: mount: joining one by path is not supported: pivot_root(2) would move",
        ),
        (
            "linux/namespaces",
            [{"type": "pid", "path": "x"}],
            "linux.namespaces[0].path: expected an absolute path",
        ),
        ("linux/timeOffsets", {"monotonic": {"secs": 1}}, "linux.timeOffsets: needs a new namespace of type time"),
        ("linux/timeOffsets", {"realtime": {"secs": 1}}, "linux.timeOffsets.realtime: unknown field"),
        ("linux/timeOffsets", {"boottime": {"nanosecs": 10**9}}, "linux.timeOffsets.boottime.nanosecs: expected a who"),
        ("hooks", {}, "config.json: hooks: this runtime does not support it yet"),
        ("linux/maskedPaths", ["proc/keys"], "config.json: linux.maskedPaths[0]: expected an absolute path"),
        ("mounts/0/destination", None, "config.json: mounts[0].destination: expected an absolute path, found null"),
        ("mounts/0", {"type": "proc"}, "config.json: mounts[0].destination: missing"),
        (
            "linux/resources",
            {"cpu": {"shares": 1}},
            "linux.resources.cpu.shares: expected a whole number from 2 to 262144",
        ),
    ],
)
def test_what_is_wrong_gets_one_line_that_names_the_field(path: str, value: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(changed(path, value))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "config", 7, True])
def test_what_is_no_object_is_no_config(value: object) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: expected an object"):
        read(value)


@pytest.mark.parametrize(
    ("mount", "sentence"),
    [
        ({"options": ["nosiud"]}, "/x: unknown option 'nosiud' for type tmpfs"),
        ({"options": ["speed=fast"]}, "/x: unknown option 'speed=fast' for type tmpfs"),
        ({"options": ["bind"], "source": "here"}, "/x: a bind mount needs an absolute path as its source"),
        ({"options": ["bind", "size=1"], "source": "/etc"}, "/x: unknown option 'size=1'|a bind mount takes no option"),
        ({"type": ""}, "/x: neither a type nor the option bind"),
        ({"destination": "/."}, "mounts: /: the root itself is named by root.path"),
        ({"destination": "//"}, "mounts: /: the root itself is named by root.path"),
        ({"options": ["tmpcopyup"]}, "/x: option 'tmpcopyup': would copy files of the image"),
        ({"options": ["mand"]}, "/x: option 'mand': Linux 5.15 has done away"),
        ({"options": ["iversion"]}, "/x: option 'iversion': fsconfig.2. knows no such flag"),
        ({"options": ["remount", "size=1"]}, "/x: a bind mount takes no option 'size=1', nor does a remount"),
        ({"type": "cgroup", "options": ["sync"]}, "/x: 'sync' would be set for the cgroups of the whole host"),
        ({"type": "overlay", "options": ["lowerdir=" + "x" * 256]}, "/x: option 'lowerdir': longer than the 255 bytes"),
        ({"options": ["idmap"]}, "/x: only a bind mount can have an id map"),
        ({"options": ["bind", "idmap"], "source": "/etc"}, "/x: idmap needs uidMappings and gidMappings, or a user na"),
        ({"type": "bind", "source": "/etc", "uidMappings": MAP}, "/x: needs both uidMappings and gidMappings"),
        (
            {"type": "bind", "source": "/etc", "uidMappings": MAP * 2, "gidMappings": MAP},
            r"/x: uidMappings\[1\].containerID: overlaps with entry 0",
        ),
    ],
)
def test_a_mount_that_makes_no_sense_is_refused(mount: dict[str, Any], sentence: str) -> None:
    wanted = config()
    wanted["mounts"].append({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": []} | mount)
    with pytest.raises(ConfigError, match=sentence):
        check(read(wanted), Host("isoproof-1", "/r"))


def test_a_file_says_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(BundleError, match=f"read {path}: No such file or directory: a bundle is"):
        read_file(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=f"{path}: not JSON: "):
        read_file(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=f"{path}: not JSON: "):
        read_file(path)
    path.write_text(json.dumps(changed("hostname", 1)))
    with pytest.raises(ConfigError, match=f"{path}: hostname: expected"):
        read_file(path)


def test_no_field_is_both_honoured_and_unsupported() -> None:
    assert not {field.path for field in FIELDS} & UNSUPPORTED
    assert all(field.meaning for field in FIELDS)
