"""Mounts against the real kernel: what the config says of each is what /proc/self/mountinfo says inside."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.syscalls import CLONE, MS, invoke
from tests.kernel.bundles import bundle, output_of
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

MS_REMOUNT = 0x20
FLAGS = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "nosymfollow": 0x100,
    "noatime": 0x400,
    "nodiratime": 0x800,
}
TURNED_ON = {name: ({name}, {"rw", "relatime"} & {"rw" if name == "ro" else ""}) for name in FLAGS}
# option: (what it adds to a mount without any of FLAGS, what it takes away)
ON = TURNED_ON | {
    "noatime": ({"noatime"}, {"relatime"}),
    "strictatime": (set(), {"relatime"}),
}
# option: (what it adds to a mount with all of FLAGS, what it takes away)
OFF = {
    "rw": ({"rw"}, {"ro"}),
    "suid": (set(), {"nosuid"}),
    "dev": (set(), {"nodev"}),
    "exec": (set(), {"noexec"}),
    "symfollow": (set(), {"nosymfollow"}),
    "diratime": (set(), {"nodiratime"}),
    "relatime": ({"relatime"}, {"noatime"}),
    "atime": ({"relatime"}, {"noatime"}),
    "nostrictatime": ({"relatime"}, {"noatime"}),
    "norelatime": (set(), set()),
}
BARE, FULL = {"rw", "relatime"}, set(FLAGS)
CASES = [(option, False, *change) for option, change in ON.items()] + [
    (option, True, *change) for option, change in OFF.items()
]
Mounts = dict[str, dict[str, Any]]
in_user_namespace = pytest.mark.parametrize("user", [False, True], ids=["", "user-namespace"])


def with_user_namespace(config: Config, first: int = 0) -> Config:
    config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = extents((0, first, 65536))
    return config


def extents(*rows: tuple[int, int, int]) -> list[Config]:
    return [dict(zip(("containerID", "hostID", "size"), row, strict=True)) for row in rows]


def mount(destination: str, kind: str, source: object, *options: str, **more: Any) -> Config:
    return {"destination": destination, "type": kind, "source": str(source), "options": list(options)} | more


def mounts_inside(directory: Path, config: Config) -> Mounts:
    """Run `cat /proc/self/mountinfo` and return what it says of each mount point; the last one at it counts."""
    config["process"]["args"] = ["cat", "/proc/self/mountinfo"]
    status, text = output_of(directory, read(config))
    assert status == 0, text
    found: Mounts = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        kind, _source, options = right.split()
        found[fields[4]] = {
            "flags": set(fields[5].split(",")),
            "propagation": [word.partition(":")[0] for word in fields[6:]],
            "group": fields[6:],
            "type": kind,
            "options": set(options.split(",")),
        }
    return found


def mount_tmpfs(path: Path, flags: int = 0) -> None:
    path.mkdir(exist_ok=True)
    invoke("mount", b"bait\0", os.fsencode(path) + b"\0", b"tmpfs\0", flags, 0)


def volume(path: Path, full: bool) -> Path:
    """Mount a tmpfs and one below it, with all of FLAGS or none."""
    for each in (path, path / "sub"):
        mount_tmpfs(each)
    for each in (path / "sub", path) if full else ():
        invoke("mount", 0, os.fsencode(each) + b"\0", 0, MS.BIND | MS_REMOUNT | sum(FLAGS.values()), 0)
    return path


def outside(function: Callable[[], Any]) -> Any:
    """Call it in a mount namespace that plays the host."""
    return in_throwaway(function, CLONE.NEWNS)


@pytest.mark.parametrize(("option", "full", "added", "removed"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("recursive", [False, True], ids=["", "r"])
def test_an_option_changes_one_mount_and_with_an_r_in_front_all_below_it(
    tmp_path: Path, option: str, full: bool, added: set[str], removed: set[str], recursive: bool
) -> None:
    directory, config = bundle(tmp_path / "bundle")

    def look() -> Mounts:
        source = volume(tmp_path / "volume", full)
        config["mounts"].append(mount("/volume", "bind", source, "rbind", f"r{option}" if recursive else option))
        return mounts_inside(directory, config)

    found = outside(look)
    before = FULL if full else BARE
    assert found["/volume"]["flags"] == before - removed | added
    assert found["/volume/sub"]["flags"] == (before - removed | added if recursive else before)


@pytest.mark.parametrize(("option", "added", "removed"), [(name, *ON[name]) for name in ON], ids=list(ON))
@in_user_namespace
def test_an_option_of_a_new_mount(tmp_path: Path, option: str, added: set[str], removed: set[str], user: bool) -> None:
    directory, config = bundle(tmp_path)
    config["mounts"].append(mount("/new", "tmpfs", "tmpfs", option))
    found = mounts_inside(directory, with_user_namespace(config) if user else config)
    assert found["/new"]["flags"] == BARE - removed | added


@pytest.mark.parametrize("option", ["ro", "nosuid", "nodev", "noexec", "noatime"])
def test_what_the_host_has_forbidden_a_user_namespace_cannot_allow_again(tmp_path: Path, option: str) -> None:
    directory, config = bundle(tmp_path / "bundle")
    opposite = {"ro": "rw", "noatime": "relatime"}.get(option, option[2:])

    def run() -> str:
        source = volume(tmp_path / "volume", full=True)
        config["mounts"].append(mount("/volume", "bind", source, "rbind", opposite))
        with pytest.raises(StartError, match=r"open:/volume: mount_setattr.*EPERM"):
            output_of(directory, read(with_user_namespace(config)))
        return "refused"

    assert outside(run) == "refused"


def test_of_two_options_that_contradict_each_other_the_later_one_wins(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    config["mounts"] += [
        mount("/a", "tmpfs", "tmpfs", "ro", "nosuid", "noatime", "rw", "suid", "atime"),
        mount("/b", "tmpfs", "tmpfs", "rw", "suid", "relatime", "ro", "nosuid", "noatime"),
        mount("/c", "tmpfs", "tmpfs", "rro", "rw"),
    ]
    found = mounts_inside(directory, config)
    assert found["/a"]["flags"] == BARE
    assert found["/b"]["flags"] == {"ro", "nosuid", "noatime"}
    assert found["/c"]["flags"] == BARE


def test_options_that_are_so_anyway_are_taken(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    options = ("defaults", "silent", "loud", "nomand", "noiversion", "async", "nolazytime")
    config["mounts"].append(mount("/a", "tmpfs", "tmpfs", *options))
    assert mounts_inside(directory, config)["/a"]["flags"] == BARE


@in_user_namespace
def test_a_tmpfs_has_the_size_mode_and_inodes_of_the_config(tmp_path: Path, user: bool) -> None:
    directory, config = bundle(tmp_path)
    config["mounts"].append(mount("/a", "tmpfs", "tmpfs", "size=1m", "mode=0750", "nr_inodes=77"))
    config["mounts"].append(mount("/b", "tmpfs", "tmpfs", "sync", "dirsync", "lazytime"))
    found = mounts_inside(directory, with_user_namespace(config) if user else config)
    assert {"size=1024k", "mode=750", "nr_inodes=77"} <= found["/a"]["options"]
    assert {"sync", "dirsync", "lazytime"} <= found["/b"]["options"]


@in_user_namespace
def test_an_overlay_is_made_of_the_hosts_directories_and_not_of_the_images(tmp_path: Path, user: bool) -> None:
    layers = tmp_path / "layers"
    for name in ("lower", "second", "upper", "work"):
        (layers / name).mkdir(parents=True, exist_ok=True)
    (layers / "lower/file").write_text("from the lower\n")
    (layers / "second/other").write_text("from the second\n")
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", "cat /o/file /o/other; echo new > /o/file")
    decoy = directory / "rootfs" / str(layers / "lower").lstrip("/")
    decoy.mkdir(parents=True)
    (decoy / "file").write_text("from the image\n")
    options = [f"lowerdir={layers}/lower:{layers}/second", f"upperdir={layers}/upper", f"workdir={layers}/work"]

    def run() -> tuple[int, str]:
        mount_tmpfs(layers / "disk")  # an overlay cannot lie on another, which the machine's own root may be
        for name in ("lower", "second", "upper", "work"):
            shutil.copytree(layers / name, layers / "disk" / name)
        config["mounts"].append(
            mount("/o", "overlay", "overlay", *[option.replace(f"{layers}/", f"{layers}/disk/") for option in options])
        )
        if user:
            config["mounts"][-1]["options"].append("userxattr")
            with_user_namespace(config)
        status, text = output_of(directory, read(config))
        written = (layers / "disk/upper/file").read_text() if status == 0 else ""
        return status, text + written + (layers / "disk/lower/file").read_text()

    status, text = outside(run)
    assert (status, text) == (0, "from the lower\nfrom the second\nnew\nfrom the lower\n")


PROPAGATION = {
    "private": [],
    "slave": ["master"],
    "shared": ["shared"],
    "unbindable": ["unbindable"],
}


@pytest.mark.parametrize("name", PROPAGATION)
@pytest.mark.parametrize("recursive", [False, True], ids=["", "r"])
@in_user_namespace
def test_each_mount_propagates_as_the_config_says(tmp_path: Path, name: str, recursive: bool, user: bool) -> None:
    directory, config = bundle(tmp_path / "bundle")

    def look() -> tuple[Mounts, str]:
        source = volume(tmp_path / "volume", full=False)
        invoke("mount", 0, os.fsencode(source) + b"\0", 0, MS.SHARED | MS.REC, 0)
        option = f"r{name}" if recursive else name
        config["mounts"].append(mount("/volume", "bind", source, "rbind", option))
        config["mounts"].append(mount("/plain", "bind", source, "rbind"))
        config["mounts"].append(mount("/new", "tmpfs", "tmpfs", option))
        found = mounts_inside(directory, with_user_namespace(config) if user else config)
        return found, Path("/proc/self/mountinfo").read_text()

    found, host = outside(look)
    # A user namespace gets slaves of whatever is shared; these can be made shared for themselves, but not peers.
    wanted = ["shared", "master"] if user and name == "shared" else PROPAGATION[name]
    untouched = ["master"] if user else ["shared"]
    assert found["/volume"]["propagation"] == wanted
    assert found["/volume/sub"]["propagation"] == (wanted if recursive else untouched)
    assert found["/plain"]["propagation"] == found["/plain/sub"]["propagation"] == []
    assert found["/new"]["propagation"] == (PROPAGATION[name] if name != "slave" else [])
    own = [group for group in found["/new"]["group"] if group.startswith("shared")]
    assert not any(f" {group} " in host for group in own)


@pytest.mark.parametrize("name", PROPAGATION)
@pytest.mark.parametrize("above", ["shared", "private"])
@in_user_namespace
def test_a_mount_propagates_as_the_config_says_also_below_a_shared_one(
    tmp_path: Path, name: str, above: str, user: bool
) -> None:
    directory, config = bundle(tmp_path / "bundle")
    config["mounts"].append(mount("/new", "tmpfs", "tmpfs", above))
    config["mounts"].append(mount("/new/below", "tmpfs", "tmpfs", name))
    config["mounts"].append(mount("/new/silent", "tmpfs", "tmpfs"))
    found = outside(lambda: mounts_inside(directory, with_user_namespace(config) if user else config))
    assert found["/new/below"]["propagation"] == (PROPAGATION[name] if name != "slave" else [])
    assert found["/new/silent"]["propagation"] == PROPAGATION[above]  # as mount(2) would have it


def test_mounts_are_made_in_the_order_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").touch()
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", "ls /a /b/c /b; cat /proc/self/mountinfo")
    config["mounts"] += [
        mount("/a", "tmpfs", "tmpfs"),
        mount("/a", "bind", tmp_path / "source", "bind"),
        mount("/b/c", "bind", tmp_path / "source", "bind"),
        mount("/b", "tmpfs", "tmpfs"),
        mount("/b/d", "tmpfs", "tmpfs"),
    ]
    status, text = output_of(directory, read(config))
    assert status == 0
    assert "ls: /b/c: No such file" in text  # covered by what came after it
    assert "/a:\nfile\n" in text
    assert "/b:\nd\n" in text
    points = [line.split()[4] for line in text.splitlines() if " - " in line]
    assert [point for point in points if point[:2] in ("/a", "/b")] == ["/a", "/a", "/b/c", "/b", "/b/d"]


@in_user_namespace
def test_a_remount_gives_an_earlier_mount_other_attributes(tmp_path: Path, user: bool) -> None:
    directory, config = bundle(tmp_path)
    config["mounts"] += [
        mount("/a", "tmpfs", "tmpfs", "noexec"),
        {"destination": "/a", "options": ["remount", "ro", "nosuid"]},
    ]
    found = mounts_inside(directory, with_user_namespace(config) if user else config)
    assert found["/a"]["flags"] == {"ro", "nosuid", "noexec", "relatime"}
    config["mounts"].append({"destination": "/bin", "options": ["remount", "ro"]})
    with pytest.raises(StartError, match=r"remount:/bin: mount_setattr.*EINVAL.*no mount"):
        output_of(directory, read(config))


@pytest.mark.parametrize("own", [True, False], ids=["namespace", "bound"])
def test_every_cgroup_hierarchy_and_what_holds_them_is_mounted_as_the_config_says(tmp_path: Path, own: bool) -> None:
    directory, config = bundle(tmp_path)
    if not own:
        config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "cgroup"]
    config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "nodev", "noexec"))
    found = mounts_inside(directory, config)
    cgroups = {point: seen for point, seen in found.items() if point.startswith("/sys/fs/cgroup")}
    assert {"cgroup", "cgroup2"} & {seen["type"] for seen in cgroups.values()}
    for point, seen in cgroups.items():
        assert seen["flags"] >= {"ro", "nosuid", "nodev", "noexec"}, point
        assert seen["propagation"] == [], point
