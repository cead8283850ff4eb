"""What a config declares: each kind of difference is seen, and what is permitted is none."""

from typing import Any

import pytest

from harness import declared


def mount(point: str, kind: str, root: str = "/", *super_options: str) -> dict[str, Any]:
    return {"point": point, "type": kind, "root": root, "super_options": list(super_options)}


def config(*mounts: dict[str, Any], readonly: bool = True) -> dict[str, Any]:
    return {
        "root": {"readonly": readonly},
        "mounts": list(mounts),
        "linux": {"maskedPaths": ["/proc/keys", "/proc/acpi"], "readonlyPaths": ["/proc/sys"]},
    }


PROC = {"destination": "/proc", "type": "proc", "options": ["nosuid", "noexec", "nodev"]}
SHM = {"destination": "/dev/shm", "type": "tmpfs", "options": ["nosuid", "mode=1777"]}
KIT = {"destination": "/isoproof", "type": "bind", "source": "/kit", "options": ["ro", "nosuid"]}
VOLUME = {"destination": "/volume", "source": "/var", "options": ["rbind", "rro"]}
CGROUP = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}

GOOD = [
    mount("/", "ext4"),
    mount("/proc", "proc"),
    mount("/isoproof", "tmpfs"),
    mount("/volume", "ext4", "/var"),
    mount("/proc/keys", "tmpfs", "/null"),
    mount("/proc/sys", "proc", "/sys"),
    mount("/dev/null", "devtmpfs", "/null"),
]


def test_what_was_asked_for_and_what_is_permitted_make_no_difference() -> None:
    asked = config(PROC, KIT, VOLUME)
    assert declared.undeclared_mounts(asked, GOOD) == []
    assert declared.missing_mounts(asked, GOOD) == []


@pytest.mark.parametrize(
    "extra",
    [
        mount("/extra", "ext4", "/etc"),  # nobody asked for it
        mount("/proc", "proc"),  # a second one on the same point
        mount("/", "ext4"),  # the old root, over or under the new one
        mount("/proc/sys", "proc", "/sys"),  # a cover over a cover
        mount("/proc/keys/below", "tmpfs"),
        mount("/sys/fs/cgroup/memory", "cgroup"),  # there is no mount of type cgroup to be a part of
    ],
)
def test_one_mount_too_many_is_named(extra: dict[str, Any]) -> None:
    found = declared.undeclared_mounts(config(PROC, KIT, VOLUME), [*GOOD, extra])
    assert found == [f"{extra['point']} {extra['type']}"]


@pytest.mark.parametrize("point", ["/", "/proc", "/isoproof", "/volume"])
def test_a_missing_mount_is_named(point: str) -> None:
    there = [each for each in GOOD if each["point"] != point]
    (found,) = declared.missing_mounts(config(PROC, KIT, VOLUME), there)
    assert found.split()[0] == point


def test_a_mount_of_another_type_is_missing() -> None:
    there = [mount("/", "ext4"), mount("/proc", "tmpfs")]
    assert declared.missing_mounts(config(PROC), there) == ["/proc proc"]


def test_a_cgroup_mount_is_one_hierarchy_or_a_tmpfs_with_several() -> None:
    asked = config(CGROUP)
    unified = [mount("/", "ext4"), mount("/sys/fs/cgroup", "cgroup2")]
    several = [
        mount("/", "ext4"),
        mount("/sys/fs/cgroup", "tmpfs"),
        mount("/sys/fs/cgroup/memory", "cgroup"),
        mount("/sys/fs/cgroup/unified", "cgroup2"),
    ]
    for there in (unified, several):
        assert declared.undeclared_mounts(asked, there) == []
        assert declared.missing_mounts(asked, there) == []
    bound = [*several, mount("/sys/fs/cgroup/stranger", "ext4")]
    assert declared.undeclared_mounts(asked, bound) == ["/sys/fs/cgroup/stranger ext4"]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ({"/proc": ["nosuid", "noexec", "nodev"]}, []),
        ({"/proc": ["nosuid", "noexec"]}, ["/proc lacks nodev"]),
        ({"/proc": ["nosuid", "noexec", "nodev", "ro"]}, ["/proc has ro"]),
        ({"/proc": ["nosuid", "noexec", "nodev"], "/": []}, ["/ lacks ro"]),
        ({"/proc": ["nosuid", "noexec", "nodev"], "/isoproof": ["ro"]}, ["/isoproof lacks nosuid"]),
        # A bind mount may inherit more than it asks for, and so may the root.
        ({"/proc": ["nosuid", "noexec", "nodev"], "/isoproof": ["ro", "nosuid", "nodev"], "/": ["ro", "nodev"]}, []),
        ({"/proc": ["nosuid", "noexec", "nodev"], "/volume": []}, ["/volume lacks ro"]),
        ({"/proc": ["nosuid", "noexec", "nodev"], "/other": ["ro"]}, []),
    ],
)
def test_flags_are_compared_one_by_one(flags: dict[str, list[str]], found: list[str]) -> None:
    standard = {"/": ["ro"], "/isoproof": ["ro", "nosuid"], "/volume": ["ro"]}
    assert declared.wrong_flags(config(PROC, KIT, VOLUME), standard | flags) == found


def test_a_mount_that_is_not_there_lacks_its_flags() -> None:
    assert declared.wrong_flags(config(SHM, readonly=False), {"/": []}) == ["/dev/shm lacks nosuid"]


def test_a_later_option_takes_a_flag_back() -> None:
    asked = config(SHM | {"options": ["ro", "rw", "nosuid", "suid", "rnodev", "rdev"]}, readonly=False)
    assert declared.wrong_flags(asked, {"/": [], "/dev/shm": []}) == []


def test_host_paths_names_what_a_mount_table_gives_away() -> None:
    assert declared.host_paths(GOOD) == ["/volume /var"]
    layered = mount("/", "overlay", "/", "rw", "lowerdir=/layers/1:/layers/2", "upperdir=/run/upper", "index=off")
    assert declared.host_paths([layered]) == ["/ /layers/1:/layers/2", "/ /run/upper"]
    assert declared.host_paths([mount("/etc/null", "ext4", "/null")]) == ["/etc/null /null"]


def test_cpu_share_is_quota_by_period() -> None:
    asked = {"linux": {"resources": {"cpu": {"quota": 20_000, "period": 100_000}}}}
    assert declared.cpu_share(asked) == 0.2


def test_limits_are_pairs_by_name() -> None:
    limits = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 5}]
    assert declared.rlimits({"process": {"rlimits": limits}}) == {"RLIMIT_CORE": [0, 5]}
    assert declared.rlimits({"process": {}}) == {}


def entry(kind: str, number: str | None = None, target: str | None = None, **more: int) -> dict[str, Any]:
    return {"kind": kind, "number": number, "target": target, "mode": 0o666, "uid": 0, "gid": 0} | more


def ordinary_dev() -> dict[str, dict[str, Any]]:
    nodes = {f"/dev/{name}": entry("character device", number) for name, number in declared.NODES.items()}
    links = {f"/dev/{name}": entry("link", target=target) for name, target in declared.LINKS.items()}
    shm = entry("directory", mode=0o1777)
    return nodes | links | {"/dev/ptmx": entry("link", target="pts/ptmx"), "/dev/shm": shm}


DEVICES: dict[str, Any] = {
    "process": {},
    "mounts": [SHM, PROC],
    "linux": {
        "devices": [
            {"type": "c", "path": "/dev/net/deep/tun", "major": 10, "minor": 200, "fileMode": 0o640, "gid": 8},
            {"type": "p", "path": "/dev/pipe"},
        ]
    },
}
OWN = {
    "/dev/net": entry("directory", mode=0o755),
    "/dev/net/deep": entry("directory", mode=0o755),
    "/dev/net/deep/tun": entry("character device", "10:200", mode=0o640, gid=8),
    "/dev/pipe": entry("fifo"),
}


def test_the_devices_that_were_asked_for_make_no_difference() -> None:
    assert declared.wrong_devices(DEVICES, ordinary_dev() | OWN) == []
    console = {**DEVICES, "process": {"terminal": True}}
    assert declared.wrong_devices(console, ordinary_dev() | OWN) == ["/dev/console is missing"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"/dev/kmsg": entry("character device", "1:11")}, "/dev/kmsg is a character device 1:11"),
        ({"/dev/core": entry("link", target="/proc/kcore")}, "/dev/core is a link /proc/kcore"),
        ({"/dev/null": entry("file")}, "/dev/null is a file"),
        ({"/dev/null": entry("character device", "1:5")}, "/dev/null is a character device 1:5"),
        ({"/dev/fd": entry("link", target="/etc")}, "/dev/fd is a link /etc"),
        ({"/dev/zero": entry("character device", "1:5", mode=0o600)}, "/dev/zero has mode 0600"),
        ({"/dev/net/deep/tun": entry("character device", "10:200", mode=0o640, gid=9)}, "/dev/net/deep/tun has gid 9"),
        ({"/dev/net": entry("file")}, "/dev/net is a file"),
    ],
)
def test_another_device_is_named(change: dict[str, Any], sentence: str) -> None:
    assert declared.wrong_devices(DEVICES, ordinary_dev() | OWN | change) == [sentence]


def test_in_a_user_namespace_modes_and_owners_are_the_hosts() -> None:
    linux = {**DEVICES["linux"], "namespaces": [{"type": "user"}]}
    odd = {"/dev/zero": entry("character device", "1:5", mode=0o600, uid=65534)}
    assert declared.wrong_devices(DEVICES | {"linux": linux}, ordinary_dev() | OWN | odd) == []


def test_a_tmpfs_that_holds_something_else_is_named() -> None:
    options = ["size=1m", "nr_inodes=2k", "mode=1777"]
    asked = config({"destination": "/tmp", "type": "tmpfs", "options": options}, PROC)
    assert declared.wrong_bounds(asked, {"/tmp": {"bytes": 1 << 20, "files": 2048}}) == []
    assert declared.wrong_bounds(asked, {"/tmp": {"bytes": 1 << 21, "files": 2048}}) == [
        "/tmp holds 2097152 bytes, not 1048576"
    ]
    assert declared.wrong_bounds(asked, {}) == ["/tmp holds 0 bytes, not 1048576", "/tmp holds 0 files, not 2048"]
