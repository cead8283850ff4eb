"""The configuration file that LXC gets for a config, and what it cannot be asked for."""

from pathlib import Path
from typing import Any

import pytest

from harness.backends import load
from harness.backends._lxc_seccomp import inexpressible, profile
from harness.backends.lxc import complaint, configuration
from harness.runtime.spec import example

Config = dict[str, Any]
CGROUPS = ("lxc.payload.a", "lxc.monitor.a")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    asked = example(0, 0)
    asked["root"]["path"] = str(tmp_path)
    return asked


def lines(config: Config, place: Path = Path("/nowhere"), shipped: bool = False) -> list[str]:
    return list(configuration(config, place, CGROUPS, shipped))


def test_the_default_config(config: Config, tmp_path: Path) -> None:
    text = lines(config)
    for line in (
        "lxc.net.0.type = empty",
        f"lxc.rootfs.path = dir:{tmp_path}",
        "lxc.rootfs.options = ro",
        "lxc.uts.name = cell",
        "lxc.namespace.clone = pid net ipc uts mnt cgroup",
        "lxc.mount.entry = proc proc proc nosuid,noexec,nodev,create=dir 0 0",
        "lxc.autodev = 1",
        "lxc.autodev.tmpfs.size = 67108864",
        "lxc.pty.max = 1024",
        "lxc.mount.entry = proc/sys proc/sys none bind,relative,ro,optional 0 0",
        "lxc.init.uid = 0",
        "lxc.cap.keep = audit_write kill net_bind_service",
        "lxc.no_new_privs = 1",
        "lxc.prlimit.nofile = 1024:1024",
        "lxc.cgroup.dir.container = lxc.payload.a",
    ):
        assert line in text, line
    assert load("lxc").unsupported(config) == []


def test_a_user_namespace_groups_clocks_and_no_capability(config: Config) -> None:
    config["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}]
    config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 1 << 20, "size": 65536}]
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 60}}
    config["process"]["user"]["additionalGids"] = [10, 100]
    config["process"]["capabilities"]["bounding"] = []
    text = lines(config)
    assert "lxc.namespace.clone = pid net ipc uts mnt cgroup user time" in text
    assert "lxc.idmap = u 0 1048576 65536" in text
    assert "lxc.time.offset.boot = 60s" in text
    assert "lxc.init.groups = 10,100" in text
    assert "lxc.cap.keep = none" in text


def test_paths_are_fields_of_fstab(config: Config, tmp_path: Path) -> None:
    source = tmp_path / "a b"
    source.write_text("")
    config["mounts"].append({"destination": "/c\td", "type": "bind", "source": str(source), "options": ["bind", "ro"]})
    entry = rf"lxc.mount.entry = {tmp_path}/a\040b c\011d none bind,ro,create=file 0 0"
    assert entry in lines(config)


def test_what_is_hidden_of_the_image_is_looked_for_there(config: Config, tmp_path: Path) -> None:
    (tmp_path / "hidden").write_text("")
    config["linux"]["maskedPaths"] = ["/hidden", "/absent"]
    entries = [line for line in lines(config) if " hidden " in line or " absent " in line]
    assert entries == ["lxc.mount.entry = /dev/null hidden none bind,ro,optional 0 0"]


def test_devices_are_those_of_the_config_and_the_default_ones(config: Config) -> None:
    config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    text = lines(config)
    assert text.index("lxc.cgroup.devices.deny = a") < text.index("lxc.cgroup.devices.allow = c 1:3 rwm")
    assert "lxc.cgroup2.devices.deny = a" in text


def test_as_shipped_its_own_configuration_comes_first(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    text = lines(config, shipped=True)
    assert text[:3] == [
        "lxc.include = /usr/share/lxc/config/common.conf",
        "lxc.include = /usr/share/lxc/config/userns.conf",
        "lxc.include = /etc/lxc/default.conf",
    ]
    assert "lxc.net.0.type = empty" not in text


def test_the_filter_in_its_own_words(config: Config, tmp_path: Path) -> None:
    masked = {"index": 0, "value": 0xFFFF, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [masked]},
            {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }
    assert f"lxc.seccomp.profile = {tmp_path}/filter" in lines(config, tmp_path)
    rules = ["read allow", "write allow", "socket errno 1 [0,16,SCMP_CMP_MASKED_EQ,65535]"]
    assert (tmp_path / "filter").read_text().splitlines() == ["2", "allowlist errno 38", "[all]", *rules]
    assert profile({"defaultAction": "SCMP_ACT_ALLOW"}).splitlines() == ["2", "denylist", "[all]"]


def test_a_filter_that_notifies_cannot_be_expressed() -> None:
    notify = {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}
    assert list(inexpressible({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [notify], "flags": ["x"]})) == [
        "linux.seccomp with SCMP_ACT_NOTIFY",
        "linux.seccomp.flags",
    ]


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"domainname": "a.example"}, "domainname beside a read-only /proc/sys"),
        ({"linux": {"sysctl": {"kernel.msgmax": "1"}}}, "linux.sysctl beside a read-only /proc/sys"),
        ({"linux": {"timeOffsets": {"boottime": {"nanosecs": 1}}}}, "linux.timeOffsets with parts of a second"),
        ({"linux": {"namespaces": [{"type": "pid"}]}}, "a container without a mount namespace"),
        ({"process": {"env": ["A=1\n2"]}}, "a variable of several lines"),
        ({"process": {"landlock": {"x": 1}}}, "process.landlock"),
        (
            {"mounts": [{"destination": "/a", "type": "bind", "options": ["rbind", "rro"]}]},
            "mount options for all mounts",
        ),
    ],
)
def test_what_it_cannot_express_is_said(config: Config, change: Config, lacking: str) -> None:
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    assert any(said.startswith(lacking) for said in load("lxc").unsupported(config))


def test_without_read_only_parameters_they_can_be_set(config: Config) -> None:
    config["linux"]["readonlyPaths"] = []
    config |= {"domainname": "a.example"}
    assert load("lxc").unsupported(config) == []
    assert "lxc.sysctl.kernel.domainname = a.example" in lines(config)
    assert load("lxc:as-shipped").unsupported(config)  # for its defaults make them read-only


def test_a_failure_is_told_from_its_cause_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    start = "lxc-execute a 20260101000000.1 ERROR    conf - ../src/lxc/conf.c:mount_entry:1 - "
    log.write_text(f"{start}No such file - Failed to mount\n{start}Failed to setup\n{start}Failed to spawn container\n")
    assert complaint(log) == "No such file - Failed to mount; Failed to setup"
    log.write_text(f"{start}Something that did not matter\n")
    assert complaint(log) == ""
    assert complaint(tmp_path / "none") == ""
