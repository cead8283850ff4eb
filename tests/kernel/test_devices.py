"""Devices against the real kernel: declared nodes, rules by list and by program, images that lie about /dev."""

import errno
import importlib
import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import inspect
from harness.runtime.config import read
from harness.runtime.errors import BadInput, StartError
from harness.runtime.launch import start
from harness.runtime.plan import plan
from harness.runtime.step import Host
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="not root")
LOOK = "for path in {}; do busybox stat -c '%n %F %t:%T %a %u:%g' $path; done"
DENY_ALL = {"allow": False, "access": "rwm"}


def prepared(directory: Path, command: str, **linux: Any) -> tuple[Path, dict[str, Any]]:
    directory, config = bundle(directory, "sh", "-c", command)
    config["linux"] |= linux
    return directory, config


def as_user_namespace(config: dict[str, Any]) -> None:
    """Give a config a user namespace, as an ordinary user's has anyway."""
    if os.geteuid() == 0:
        identity = [{"containerID": 0, "hostID": 0, "size": 65536}]
        config["linux"]["namespaces"].append({"type": "user"})
        config["linux"] |= {"uidMappings": identity, "gidMappings": identity}


@root_only
def test_declared_nodes_have_their_numbers_mode_and_owner(tmp_path: Path) -> None:
    nodes: list[dict[str, Any]] = [
        {"type": "c", "path": "/dev/net/tun", "major": 10, "minor": 200, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"type": "b", "path": "/dev/disk", "major": 7, "minor": 300, "fileMode": 0o600},
        {"type": "u", "path": "/dev/plain", "major": 1, "minor": 3},
        {"type": "p", "path": "/dev/pipe", "fileMode": 0o622, "uid": 9},
        {"type": "p", "path": "/dev/marked", "fileMode": 0o6777, "gid": 9},
    ]
    paths = " ".join(node["path"] for node in nodes)
    status, text = output_of(*ready(prepared(tmp_path, LOOK.format(paths) + "; echo x > /dev/plain", devices=nodes)))
    assert (status, text.splitlines()) == (
        0,
        [
            "/dev/net/tun character special file a:c8 640 7:8",
            "/dev/disk block special file 7:12c 600 0:0",
            "/dev/plain character special file 1:3 666 0:0",
            "/dev/pipe fifo 0:0 622 9:0",
            "/dev/marked fifo 0:0 6777 0:9",
        ],
    )


def ready(made: tuple[Path, dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    return made[0], read(made[1])


def test_in_a_user_namespace_the_hosts_node_is_bound(tmp_path: Path) -> None:
    nodes = [{"type": "c", "path": "/dev/full", "major": 1, "minor": 7}, {"type": "p", "path": "/dev/a/pipe"}]
    command = "echo x 2>&1 > /dev/full; " + LOOK.format("/dev/full /dev/a/pipe")
    directory, config = prepared(tmp_path, command, devices=nodes)
    as_user_namespace(config)
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert "No space left on device" in text
    assert "/dev/full character special file 1:7" in text
    assert "/dev/a/pipe fifo" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "/dev/isoproof-none"}, "is not to be had: ENOENT"),
        ({"minor": 5}, "is another device"),
        ({"fileMode": 0o601}, "has the mode 0666; leave out fileMode"),
        ({"uid": 5}, "belongs to uid 0 of the host"),
    ],
)
def test_a_bound_node_that_is_not_as_declared_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    node = {"type": "c", "path": "/dev/full", "major": 1, "minor": 7} | change
    directory, config = prepared(tmp_path, "true", devices=[node])
    as_user_namespace(config)
    with pytest.raises(BadInput, match=sentence):
        output_of(directory, read(config))


ATTEMPTS = "; ".join(
    f"(true {how}) 2>/dev/null && echo ok {name} || echo no {name}"
    for name, how in (
        ("null", "<>/dev/null"),
        ("pts", "<>/dev/ptmx"),
        ("fuse-r", "</dev/t-fuse"),
        ("fuse-w", ">/dev/t-fuse"),
        ("kmsg", ">/dev/t-kmsg"),
    )
)
NODES = [
    {"type": "c", "path": "/dev/t-fuse", "major": 10, "minor": 229},
    {"type": "c", "path": "/dev/t-kmsg", "major": 1, "minor": 11},
]
READ_FUSE = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}


def remove_places(host: Host) -> None:
    """Remove the places for mounts, which `run` would have removed."""
    root = inspect.open_directory(Path(host.rootfs))
    inspect.remove_places(root, ["/proc", "/dev", "/sys"])
    os.close(root)


def only(version: int) -> Callable[[Host], Host]:
    """Return what shows of a host only its cgroup hierarchies of one version."""
    return lambda host: replace(host, hierarchies=tuple(one for one in host.hierarchies if one.version == version))


def verdicts(directory: Path, rules: list[dict[str, Any]], version: int, missing: Callable[[str], Any]) -> list[str]:
    """Return what a container under these rules may open, with the rules enforced by one version."""
    directory, config = prepared(directory, ATTEMPTS, devices=NODES, resources={"devices": rules})
    for kind in config["process"]["capabilities"]:
        config["process"]["capabilities"][kind] += ["CAP_MKNOD"]
    config = read(config)
    host = only(version)(inspect.host(config, directory))
    if not any(one.version == 2 or "devices" in one.controllers for one in host.hierarchies):
        missing(f"no cgroup hierarchy of version {version} decides on devices here")
    reader, writer = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with start(plan(config, host), (null, writer, writer)) as cell:
            os.close(writer)
            assert cell.wait(20) == 0
            with os.fdopen(reader) as pipe:
                return pipe.read().splitlines()
    finally:
        os.close(null)
        remove_places(host)


@root_only
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([DENY_ALL], {"null", "pts"}),
        ([DENY_ALL, READ_FUSE], {"null", "pts", "fuse-r"}),
        (
            [DENY_ALL, READ_FUSE | {"access": "rwm"}, READ_FUSE | {"allow": False, "access": "w"}],
            {"null", "pts", "fuse-r"},
        ),
        ([{"allow": True}], {"null", "pts", "fuse-r", "fuse-w", "kmsg"}),
        ([{"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}], {"null", "pts", "fuse-r", "fuse-w"}),
    ],
)
def test_rules_decide_what_can_be_opened(
    tmp_path: Path, version: int, rules: list[dict[str, Any]], allowed: set[str], missing: Callable[[str], Any]
) -> None:
    before = snapshot()
    lines = verdicts(tmp_path / "rules", rules, version, missing)
    openable = {
        line.split()[1] for line in verdicts(tmp_path / "none", [{"allow": True}], version, missing) if line[:2] == "ok"
    }
    assert {line.split()[1] for line in lines if line.startswith("ok")} == allowed & openable
    assert len(lines) == 5
    assert {"null", "pts"} <= openable
    assert openable & {"fuse-r", "kmsg"}, "no device that the rules could deny"
    assert snapshot() == before


@root_only
def test_the_probe_counts_the_programs_that_judge(tmp_path: Path, missing: Callable[[str], Any]) -> None:
    directory, config = prepared(tmp_path, "busybox sleep 20", resources={"devices": [DENY_ALL]})
    config = read(config)
    host = only(2)(inspect.host(config, directory))
    if not host.hierarchies:
        missing("no cgroup hierarchy of version 2 is mounted here")
    programs = importlib.import_module("probes.__main__").load("cgroup_state")._programs
    made = plan(config, host)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with start(made, (null, null, null)):
            assert programs(made.into) == programs(os.path.dirname(made.into)) + 1
    finally:
        os.close(null)
        remove_places(host)


@root_only
def test_the_config_that_runc_writes_runs(tmp_path: Path, missing: Callable[[str], Any]) -> None:
    if not shutil.which("runc"):
        missing("runc is not installed")
    directory, _ = bundle(tmp_path)
    (directory / "config.json").unlink()
    subprocess.run(["runc", "spec"], cwd=directory, check=True)
    config = json.loads((directory / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", "hostname; echo x > /dev/null && echo fine"]}
    assert output_of(directory, read(config)) == (0, "runc\nfine\n")


def lie(path: Path, kind: str) -> None:
    """Put something at a path of the image that is not the null device."""
    path.parent.mkdir(exist_ok=True)
    if kind == "symlink":
        path.symlink_to("/proc/keys")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("a lie\n")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "directory":
        path.mkdir()
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


LIES = ["symlink", "fifo", "file", "socket", "directory", pytest.param("zero", marks=root_only)]


@pytest.mark.parametrize("kind", LIES)
def test_a_null_device_of_the_image_is_not_used_where_there_is_an_own_dev(tmp_path: Path, kind: str) -> None:
    directory, config = prepared(tmp_path, "cat /dev/null /proc/keys; " + LOOK.format("/dev/null /proc/keys"))
    lie(directory / "rootfs/dev/null", kind)
    before = os.lstat(directory / "rootfs/dev/null")
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert [line.split(" 666")[0] for line in text.splitlines()] == [
        f"{path} character special file 1:3" for path in ("/dev/null", "/proc/keys")
    ]
    after = os.lstat(directory / "rootfs/dev/null")
    assert (after.st_mode, after.st_rdev, after.st_size) == (before.st_mode, before.st_rdev, before.st_size)


@pytest.mark.parametrize("kind", LIES)
def test_masks_are_never_made_of_the_images_null_device(tmp_path: Path, kind: str) -> None:
    directory, config = prepared(tmp_path, "cat /proc/keys; " + LOOK.format("/proc/keys"))
    config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
    lie(directory / "rootfs/dev/null", kind)
    names = sorted(os.listdir(directory / "rootfs/dev"))
    if kind == "directory":
        with pytest.raises(StartError, match=r"cover-null: move_mount.*; the image has a directory") as caught:
            output_of(directory, read(config))
        assert caught.value.number == errno.EINVAL
    else:
        status, text = output_of(directory, read(config))
        assert status == 0, text
        assert text.split(" 666")[0] == "/proc/keys character special file 1:3"
    assert sorted(os.listdir(directory / "rootfs/dev")) == names, "something was made in the image"


def test_without_an_own_dev_nothing_is_made_in_the_image(tmp_path: Path) -> None:
    directory, config = prepared(tmp_path, "ls /dev", maskedPaths=[])
    config["mounts"] = [mount for mount in config["mounts"] if not mount["destination"].startswith("/dev")]
    (directory / "rootfs/dev").mkdir()
    assert output_of(directory, read(config)) == (0, "")
    assert os.listdir(directory / "rootfs/dev") == []


def test_a_mount_that_the_image_leads_over_dev_changes_neither_masks_nor_the_host(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "null").symlink_to("/proc/keys")
    directory, config = prepared(tmp_path / "bundle", LOOK.format("/proc/keys"))
    (directory / "rootfs/data").symlink_to("/dev")
    config["mounts"].append({"destination": "/data", "source": str(volume), "options": ["bind"]})
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert text.startswith("/proc/keys character special file 1:3")
    assert os.listdir(volume) == ["null"]


@root_only
def test_a_declared_node_is_not_made_in_a_mount_that_the_image_leads_there(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    node = {"type": "c", "path": "/dev/net/deep/tun", "major": 10, "minor": 200}
    directory, config = prepared(tmp_path / "bundle", "true", devices=[node])
    (directory / "rootfs/data").symlink_to("/dev/net")
    config["mounts"] += [
        {"destination": "/dev/net/other", "type": "tmpfs", "source": "tmpfs", "options": []},
        {"destination": "/data", "source": str(volume), "options": ["bind"]},
    ]
    with pytest.raises(StartError, match=r"devices: openat2.*: EXDEV"):
        output_of(directory, read(config))
    assert os.listdir(volume) == []
