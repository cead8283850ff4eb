"""Reading a config: what is right passes unchanged, what is wrong gets one line that names the field."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import powerless, read, read_file
from harness.runtime.errors import BundleError, ConfigError
from harness.runtime.fields import BRANCHES, FIELDS, FOREIGN, HOOKS, KINDS, UNSUPPORTED
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
        ("hostname", 5, "config.json: hostname: expected a text, found 5"),
        ("hostname", "a\0b", 'config.json: hostname: "a\\u0000b" has a NUL in it, which'),
        ("hostname", "x" * 65, "config.json: hostname: longer than the 64 bytes that the kernel takes"),
        ("root", [], "config.json: root: expected an object, found a list"),
        ("root/path", "", "config.json: root.path: missing"),
        ("process/args", "sh", 'config.json: process.args: expected a list, found "sh"'),
        ("process/args", [], "config.json: process.args: missing"),
        ("process/env", ["PATH"], 'config.json: process.env[0]: expected a text NAME=value, found "PATH"'),
        ("process/cwd", "tmp", "config.json: process.cwd: expected an absolute path"),
        ("process/terminal", "yes", "config.json: process.terminal: expected true or false"),
        ("process/consoleSize/height", 65536, "config.json: process.consoleSize.height: expected"),
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
        ("linux/seccomp/listenerPath", "x", "linux.seccomp.listenerPath: expected an absolute path"),
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
        (
            "linux/personality/flags",
            ["X"],
            "config.json: linux.personality.flags[0]: expected nothing here (the run",
        ),
        ("process/execCPUAffinity", {"final": "3-1"}, "process.execCPUAffinity.final: expected a list of numbers such"),
        ("process/user/username", "root", "config.json: process.user.username: is for another system than Linux"),
        ("windows", {}, "config.json: windows: is for another system than Linux; take it out"),
        ("linux/sysctl", {"net.\0": "1"}, "config.json: linux.sysctl.net.\\x00: the name has a NUL in it"),
        ("process/args", ["\udcff"], 'config.json: process.args[0]: "\\udcff" has a lone surrogate in it, which'),
        ("annotations", {"isoproof.init": "yes"}, "annotations.isoproof.init: expected the text true or false"),
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
        ("hooks", {"poststop": [{}]}, "config.json: hooks.poststop[0].path: missing; it names the program to run"),
        ("hooks", {"poststop": [{"path": "true"}]}, "config.json: hooks.poststop[0].path: expected an absolute path"),
        ("hooks", {"prestart": [{"path": "/a", "timeout": 0}]}, "hooks.prestart[0].timeout: expected a whole number"),
        ("vm", {}, "config.json: vm: this runtime does not support it; a container is no virtual machine"),
        ("linux/memoryPolicy", {"nodes": "0"}, "config.json: linux.memoryPolicy: needs mode"),
        ("linux/maskedPaths", ["proc/keys"], "config.json: linux.maskedPaths[0]: expected an absolute path"),
        ("mounts/0/destination", None, "config.json: mounts[0].destination: expected an absolute path, found null"),
        ("mounts/0", {"type": "proc"}, "config.json: mounts[0].destination: missing"),
        (
            "linux/resources",
            {"memory": {"useHierarchy": False}},
            "linux.resources.memory.useHierarchy: since Linux 5.11 inner cgroups always count",
        ),
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"hostname": "a", "hostname": "b"}', "hostname stands twice in one object"),
        ('{"root": {"a\\nb": 1, "a\\nb": 1}}', r"a\nb stands twice in one object"),
        ('{"hostname": NaN}', "NaN is no number there"),
        ('{"hostname": -Infinity}', "-Infinity is no number there"),
        ("\udcff", "'utf-8' codec can't decode"),
    ],
)
def test_what_two_readers_could_take_for_two_things_is_no_json(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: not JSON: {reason}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_number_with_more_digits_than_python_reads_is_out_of_range(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(changed("process/user/uid", 1)).replace('"uid": 1', f'"uid": -{"9" * 5000}'))
    with pytest.raises(ConfigError, match=r"process\.user\.uid: expected a whole number from 0 to"):
        read_file(path)


def test_an_unknown_field_is_ignored_as_the_runtime_spec_wants_it() -> None:
    wanted = changed("hostnme", "x")
    wanted["process"]["rlimits"][0]["sort"] = {"deep": [1]}
    wanted["linux"]["x\ny"] = wanted["process.args"] = wanted["mounts[]"] = None
    assert read(wanted) == config()


def test_a_strict_reader_names_each_unknown_field_on_a_line_of_its_own() -> None:
    wanted = changed("hostnme", "x")
    wanted["process"]["rlimits"][0]["sort"] = 1
    wanted["process"]["rlimits"][0]["s" * 10**6] = 1
    wanted["linux"]["maskedPath\n\x1b"] = []
    with pytest.raises(ConfigError) as caught:
        read(wanted, strict=True)
    assert str(caught.value).splitlines() == [
        "config.json: process.rlimits[0].sort: unknown field; did you mean process.rlimits[].soft?",
        f"config.json: process.rlimits[0].{'s' * 57}...: unknown field",
        r"config.json: linux.maskedPath\n\x1b: unknown field; did you mean linux.maskedPaths?",
        "config.json: hostnme: unknown field; did you mean hostname?",
    ]


def test_an_ambient_capability_that_cannot_be_one_is_named() -> None:
    wanted = changed("process/capabilities/ambient", ["CAP_KILL", "CAP_CHOWN"])
    wanted["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
    assert [line.split(":")[1:3] for line in powerless(read(wanted))] == [
        [" process.capabilities.ambient[1]", " CAP_CHOWN is left out"]
    ]
    with pytest.raises(ConfigError, match=r"ambient\[1\]: CAP_CHOWN is left out: only what is permitted and"):
        read(wanted, strict=True)


# Every property that version 1.3 of the runtime-spec has for Linux, and the sections for other systems.
RUNTIME_SPEC = {
    "": "ociVersion root mounts process hostname domainname hooks annotations linux solaris windows vm zos freebsd",
    "root.": "path readonly",
    "hooks.": "prestart createRuntime createContainer startContainer poststart poststop",
    **{f"hooks.{point}[].": "path args env timeout" for point in HOOKS},
    "mounts[].": "destination type source options uidMappings gidMappings",
    "process.": "terminal consoleSize cwd env args commandLine rlimits apparmorProfile capabilities noNewPrivileges "
    "oomScoreAdj scheduler selinuxLabel ioPriority execCPUAffinity user",
    "process.user.": "uid gid umask additionalGids username",
    "process.rlimits[].": "type soft hard",
    "process.capabilities.": "bounding effective inheritable permitted ambient",
    "process.scheduler.": "policy nice priority flags runtime deadline period",
    "process.ioPriority.": "class priority",
    "process.execCPUAffinity.": "initial final",
    "linux.": "namespaces uidMappings gidMappings timeOffsets devices netDevices cgroupsPath rootfsPropagation seccomp "
    "sysctl maskedPaths readonlyPaths mountLabel resources intelRdt memoryPolicy personality",
    "linux.namespaces[].": "type path",
    "linux.uidMappings[].": "containerID hostID size",
    "linux.gidMappings[].": "containerID hostID size",
    "linux.timeOffsets.": "monotonic boottime",
    "linux.devices[].": "type path major minor fileMode uid gid",
    "linux.personality.": "domain flags",
    "linux.memoryPolicy.": "mode nodes flags",
    "linux.netDevices.*.": "name",
    "linux.seccomp.": "defaultAction defaultErrnoRet architectures flags listenerPath listenerMetadata syscalls",
    "linux.seccomp.syscalls[].": "names action errnoRet args",
    "linux.seccomp.syscalls[].args[].": "index value valueTwo op",
    "linux.resources.": "devices memory cpu pids blockIO hugepageLimits network rdma unified",
    "linux.resources.devices[].": "allow type major minor access",
    "linux.resources.memory.": "limit reservation swap kernel kernelTCP swappiness disableOOMKiller useHierarchy "
    "checkBeforeUpdate",
    "linux.resources.cpu.": "shares quota burst period realtimeRuntime realtimePeriod cpus mems idle",
    "linux.resources.pids.": "limit",
    "linux.resources.blockIO.": "weight leafWeight weightDevice throttleReadBpsDevice throttleWriteBpsDevice "
    "throttleReadIOPSDevice throttleWriteIOPSDevice",
    "linux.resources.blockIO.weightDevice[].": "major minor weight leafWeight",
    "linux.resources.hugepageLimits[].": "pageSize limit",
    "linux.resources.network.": "classID priorities",
    "linux.resources.rdma.*.": "hcaHandles hcaObjects",
}


EXTENSIONS = ("linux.veth", "process.landlock")  # ours, which no runtime-spec knows


def test_nothing_that_the_runtime_spec_knows_is_unknown_here() -> None:
    paths = {f"{parent}{name}" for parent, names in RUNTIME_SPEC.items() for name in names.split()}
    lists = {path + "[]" for path in paths}
    known = {*KINDS, *BRANCHES, *UNSUPPORTED, *FOREIGN}
    assert {path for path in paths if path not in known} - {path for path in paths if path + "[]" in known} == set()
    assert {path for path in known if path.endswith("[]") and not path.startswith(EXTENSIONS)} <= lists
    assert len(paths) > 150


def test_no_field_is_both_honoured_and_unsupported() -> None:
    assert not {field.path for field in FIELDS} & (set(UNSUPPORTED) | FOREIGN)
    assert all(field.meaning for field in FIELDS)
