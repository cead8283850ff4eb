"""The root and the /proc of the launcher: what is refused, what is never written through, how the root is mounted."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.runtime import inspect
from harness.runtime.config import read
from harness.runtime.errors import BadInput, BundleError
from harness.runtime.syscalls import MS, invoke
from tests.kernel.bundles import bundle, output_of
from tests.kernel.test_launch import tree
from tests.kernel.test_mounts import (
    PROPAGATION,
    Mounts,
    in_user_namespace,
    mount,
    mount_tmpfs,
    mounts_inside,
    outside,
    with_user_namespace,
)

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.mark.parametrize("name", PROPAGATION)
@pytest.mark.parametrize("recursive", [False, True], ids=["", "r"])
def test_the_root_propagates_as_the_config_says(tmp_path: Path, name: str, recursive: bool) -> None:
    directory, config = bundle(tmp_path / "bundle")
    config["linux"]["rootfsPropagation"] = f"r{name}" if recursive else name
    config["mounts"].append(mount("/kept", "tmpfs", "tmpfs", "private"))

    def look() -> tuple[Mounts, str]:
        rootfs = os.fsencode(directory / "rootfs") + b"\0"
        invoke("mount", rootfs, rootfs, 0, MS.BIND, 0)
        mount_tmpfs(directory / "rootfs/sub")
        invoke("mount", 0, rootfs, 0, MS.SHARED | MS.REC, 0)
        return mounts_inside(directory, config), Path("/proc/self/mountinfo").read_text()

    found, host = outside(look)
    assert found["/"]["propagation"] == PROPAGATION[name]
    below = PROPAGATION[name] if recursive or name == "slave" else []
    assert found["/sub"]["propagation"] == below
    assert found["/kept"]["propagation"] == []
    if name == "shared":  # a peer group of its own
        assert f" {found['/']['group'][0]} " not in host


@pytest.mark.parametrize("masked", ["/kept", "/kept/", "/kept/below"])
def test_the_root_propagates_whatever_a_mask_lies_over(tmp_path: Path, masked: str) -> None:
    directory, config = bundle(tmp_path / "bundle")
    config["linux"] |= {"rootfsPropagation": "rshared", "maskedPaths": [masked]}
    config["mounts"].append(mount("/kept", "tmpfs", "tmpfs"))
    config["mounts"].append(mount("/kept/below", "tmpfs", "tmpfs", "private"))
    found = outside(lambda: mounts_inside(directory, config))
    assert found["/"]["propagation"] == ["shared"]


def test_the_root_propagates_whatever_a_later_mount_lies_over(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path / "bundle")
    config["linux"]["rootfsPropagation"] = "rshared"
    config["mounts"].append(mount("/over/below", "tmpfs", "tmpfs", "private"))
    config["mounts"].append(mount("/over", "tmpfs", "tmpfs"))
    found = outside(lambda: mounts_inside(directory, config))
    assert found["/over"]["propagation"] == ["shared"]


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_nothing_is_written_through_a_proc_that_is_none(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    for name in ("self", "sys/kernel", "sys/net/ipv4", "1", "sys/fs/mqueue"):
        (canary / name).mkdir(parents=True)
    for name in ("self/oom_score_adj", "self/timens_offsets", "self/coredump_filter", "sys/kernel/shmmni"):
        (canary / name).write_text("canary")
    directory, config = bundle(tmp_path / "bundle", "/bin/true")
    config["mounts"][0] = mount("/proc", kind, canary, *(["bind"] if kind == "bind" else []))
    config["process"]["oomScoreAdj"] = 100
    config["linux"]["sysctl"] = {"kernel.shmmni": "17"}
    config["linux"]["namespaces"].append({"type": "time"})
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1}}
    before = {path: path.read_text() for path in canary.rglob("*") if path.is_file()}
    entries = tree(canary)
    assert output_of(directory, read(config)) == (0, "")
    assert {path: path.read_text() for path in before} == before
    assert tree(canary) == entries


def test_a_launcher_whose_own_proc_is_none_starts_nothing(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)

    def refuse(hide: Callable[[], None]) -> str:
        hide()
        with pytest.raises(BadInput, match="the /proc around this process is no procfs"):
            inspect.host(read(config), directory)
        return "refused"

    def bind_a_part() -> None:
        invoke("mount", b"/proc/self\0", b"/proc\0", 0, MS.BIND, 0)

    assert outside(lambda: refuse(lambda: mount_tmpfs(Path("/proc")))) == "refused"
    assert outside(lambda: refuse(bind_a_part)) == "refused"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/", "the host's own root"),
        ("/proc/self/root", "the host's own root"),
        ("/..//.", "the host's own root"),
        ("/dev", "the host's own /dev"),
        ("/proc", "procfs, a view of this kernel"),
        ("/proc/1", "procfs"),
        ("/sys/kernel", "sysfs"),
        ("/dev/pts", "devpts"),
        ("/etc/passwd", "no such directory"),
        ("nowhere", "no such directory"),
        ("loop", "loop"),
        ("link", "leads through a symlink to "),
        ("fifo", "no such directory"),
    ],
)
def test_a_root_that_is_surely_no_image_is_refused(tmp_path: Path, path: str, sentence: str) -> None:
    directory, config = bundle(tmp_path)
    os.mkfifo(directory / "fifo")
    (directory / "loop").symlink_to("loop")
    (directory / "link").symlink_to("rootfs")
    config["root"]["path"] = path
    altered: list[object] = []
    with pytest.raises(BundleError, match=sentence) as caught:
        output_of(directory, read(config), alter=altered.append)
    assert "\n" not in str(caught.value)
    assert altered == []


def test_another_mount_of_the_hosts_root_is_refused_too(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    (directory / "twin").mkdir()
    config["root"]["path"] = "twin"

    def refuse() -> str:
        invoke("mount", b"/\0", os.fsencode(directory / "twin") + b"\0", 0, MS.BIND, 0)
        with pytest.raises(BundleError, match="the host's own root"):
            output_of(directory, read(config))
        return "refused"

    assert outside(refuse) == "refused"


@in_user_namespace
def test_a_read_only_root_is_one_and_mounts_in_it_are_not(tmp_path: Path, user: bool) -> None:
    command = "touch /new 2>&1 || touch /a/new && ls /a"
    directory, config = bundle(tmp_path, "sh", "-c", command)
    config["mounts"].append(mount("/a", "tmpfs", "tmpfs"))
    status, text = output_of(directory, read(with_user_namespace(config) if user else config))
    assert (status, text) == (0, "touch: /new: Read-only file system\nnew\n")
