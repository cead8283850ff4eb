"""The probes of the area mount: what they see without isolation, and with it.

The outer throwaway plays the host; a second one inside it, or what it does to itself, plays the container.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from harness import bait, canaries
from harness.runtime.syscalls import CLONE, MNT, MS, invoke
from tests.kernel.probing import observe
from tests.kernel.throwaway import in_throwaway, without_capabilities

pytestmark = pytest.mark.usefixtures("needs_namespaces")

REMOUNT = MS(32)


def mount_tmpfs(point: Path, flags: MS = MS(0)) -> None:
    invoke("mount", b"tmpfs", os.fsencode(point), b"tmpfs", flags, b"size=1m")


def bind(source: Path | str, point: Path | str, flags: MS = MS(0)) -> None:
    invoke("mount", os.fsencode(source), os.fsencode(point), 0, MS.BIND | flags, 0)


def umount(point: Path | str) -> None:
    invoke("umount2", os.fsencode(point), MNT.DETACH)


def switch_root(root: Path, drop_old: bool = True, sysfs: MS = MS.RDONLY) -> None:
    """Enters a root with a /proc and a /sys in it, as a container does."""
    mount_tmpfs(root)
    # As long as the host's are in sight: in a user namespace they could not be mounted afterwards.
    for name, kind, flags in (("proc", b"proc", MS(0)), ("sys", b"sysfs", sysfs)):
        (root / name).mkdir()
        invoke("mount", kind, os.fsencode(root / name), kind, flags, 0)
    os.chdir(root)
    invoke("pivot_root", b".", b".")
    if drop_old:
        umount(".")
    os.chdir("/")


def test_mounts_and_flags_tell_what_is_mounted(tmp_path: Path) -> None:
    def story() -> None:
        before = observe("mounts")
        mount_tmpfs(tmp_path, MS.NOSUID | MS.NOEXEC | MS.RDONLY)
        after = observe("mounts")
        assert set(after["points"]) - set(before["points"]) == {str(tmp_path)}
        assert after["shared"] == []
        assert after["root_tree"] == before["root_tree"] in after["trees"]
        assert observe("mount_flags")["flags"][str(tmp_path)] == ["ro", "nosuid", "noexec"]
        invoke("mount", b"none", os.fsencode(tmp_path), 0, MS.SHARED, 0)
        assert len(observe("mounts")["shared"]) == 1

    in_throwaway(story)


def test_location_follows_links_and_knows_mounts(tmp_path: Path) -> None:
    def story() -> None:
        point = tmp_path / "point"
        point.mkdir()
        (tmp_path / "link").symlink_to(point)
        seen = observe("location", path=str(tmp_path / "link"))
        assert (seen["inode"], seen["real"], seen["is_mount"]) == (point.stat().st_ino, str(point), False)
        mount_tmpfs(point)
        assert observe("location", path=str(tmp_path / "link"))["is_mount"]
        assert observe("location", path=str(tmp_path / "nothing"))["errno"] == "ENOENT"

    in_throwaway(story)


@pytest.mark.parametrize("pivot", [False, True])
def test_chroot_escape_climbs_out_of_a_chroot_and_not_out_of_a_root(tmp_path: Path, pivot: bool) -> None:
    (tmp_path / "bait").touch()
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)

    def story() -> dict[str, Any]:
        if pivot:
            switch_root(root)
        else:
            os.chroot(root)
            os.chdir("/")
        return observe("chroot_escape", path=str(tmp_path / "bait"))

    seen = in_throwaway(story)
    assert seen["chroot"]["errno"] is None
    assert (seen["after"] == seen["before"]) is pivot
    assert seen["canary"]["errno"] == ("ENOENT" if pivot else None)


@pytest.mark.parametrize("drop_old", [False, True])
def test_search_mounts_looks_behind_the_root(tmp_path: Path, drop_old: bool) -> None:
    root, file = tmp_path / "root", tmp_path / "bait"
    root.mkdir()
    file.touch()
    status = file.stat()

    def story() -> dict[str, Any]:
        switch_root(root, drop_old)
        return observe("search_mounts", path=str(file), device=status.st_dev, inode=status.st_ino)

    seen = in_throwaway(story)
    assert seen["tried"] > 2
    assert seen["found"] == ([] if drop_old else [f"/..{file}"])


def test_search_mounts_finds_a_part_of_the_hosts_tree(tmp_path: Path) -> None:
    elsewhere, house = tmp_path / "elsewhere", tmp_path / "house"
    elsewhere.mkdir()
    house.mkdir()
    (house / "bait").touch()
    status = (house / "bait").stat()

    def story() -> dict[str, Any]:
        bind(house, elsewhere)
        return observe("search_mounts", path=str(house / "bait"), device=status.st_dev, inode=status.st_ino)

    assert str(elsewhere / "bait") in in_throwaway(story)["found"]


@pytest.mark.parametrize("enter", [False, True])
def test_working_directory_outside_of_the_root_is_seen(tmp_path: Path, enter: bool) -> None:
    (tmp_path / "bait").touch()
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)

    def story() -> dict[str, Any]:
        os.chdir("/")
        os.chroot(root)
        if enter:
            os.chdir("/")
        return observe("working_directory", path=str(tmp_path / "bait"))

    seen = in_throwaway(story)
    assert (seen["identity"] == seen["root"]) is enter
    assert (seen["path"] == "/") is enter
    assert seen["canary"]["errno"] == ("ENOENT" if enter else None)
    assert seen["above_root"] == seen["root"]


@pytest.mark.parametrize("propagation", [MS.PRIVATE, MS.SLAVE, MS.SHARED])
def test_mounts_travel_through_peer_groups(tmp_path: Path, propagation: MS) -> None:
    """mount_below shows a mount to the host if that is shared; mount_watch sees the host's if it is not private."""

    def story() -> None:
        mount_tmpfs(tmp_path)
        invoke("mount", b"none", os.fsencode(tmp_path), 0, MS.SHARED, 0)
        for name in ("inner", "outer"):
            (tmp_path / name).mkdir()
        receiver, sender = os.pipe()
        asker, answerer = os.pipe()

        def tell_and_wait(word: bytes) -> None:
            os.write(sender, word)
            os.read(asker, 1)

        container = os.fork()
        if container == 0:
            try:
                invoke("unshare", CLONE.NEWNS)
                invoke("mount", b"none", os.fsencode(tmp_path), 0, propagation, 0)
                below = str(tmp_path / "inner")
                assert observe("mount_below", lambda: tell_and_wait(b"m"), path=below)["mount"]["errno"] is None
                watched = observe("mount_watch", lambda: tell_and_wait(b"w"), path=str(tmp_path))
                seen = set(watched["after"]) - set(watched["before"])
                os.write(sender, b"+" if seen == {str(tmp_path / "outer")} else b"-" if not seen else b"?")
            finally:
                os._exit(0)
        assert os.read(receiver, 1) == b"m"
        assert (str(tmp_path / "inner") in bait.mounts_at(tmp_path)) is (propagation is MS.SHARED)
        os.write(answerer, b".")
        assert os.read(receiver, 1) == b"w"
        assert str(tmp_path / "inner") not in bait.mounts_at(tmp_path)
        mount_tmpfs(tmp_path / "outer")
        os.write(answerer, b".")
        assert os.read(receiver, 1) == (b"-" if propagation is MS.PRIVATE else b"+")
        os.waitpid(container, 0)

    in_throwaway(story)


def test_create_file_leaves_nothing(tmp_path: Path) -> None:
    def story() -> None:
        mount_tmpfs(tmp_path)
        assert observe("create_file", path=str(tmp_path / "new"))["errno"] is None
        assert os.listdir(tmp_path) == []
        bind(tmp_path, tmp_path)
        invoke("mount", b"none", os.fsencode(tmp_path), 0, REMOUNT | MS.BIND | MS.RDONLY, 0)
        assert observe("create_file", path=str(tmp_path / "new"))["errno"] == "EROFS"

    in_throwaway(story)


def test_mount_api_and_unmask_leave_the_mounts_as_they_are() -> None:
    def story() -> None:
        bind("/proc/sys", "/proc/sys", MS.REC)
        before = Path("/proc/self/mountinfo").read_text()
        attempts = observe("mount_api")["attempts"]
        assert len(attempts) == 7
        assert {call for call, outcome in attempts.items() if outcome["errno"] == "EPERM"} == set()
        lifted = observe("unmask")
        assert "/proc/sys" in lifted["covers"]
        assert lifted["directly"]["umount /proc/sys"]["errno"] is None
        assert lifted["nested"]["umount /proc/sys"]["errno"] == "EINVAL"
        assert Path("/proc/self/mountinfo").read_text() == before

    in_throwaway(story)


@pytest.mark.usefixtures("needs_root")
def test_mount_api_and_unmask_are_denied_without_capabilities() -> None:
    def story() -> None:
        bind("/proc/sys", "/proc/sys", MS.REC)
        attempts = without_capabilities(lambda: observe("mount_api"))["attempts"]
        assert {outcome["errno"] for outcome in attempts.values()} == {"EPERM"}
        lifted = without_capabilities(lambda: observe("unmask"))["directly"]
        assert {outcome["errno"] for outcome in lifted.values()} == {"EPERM"}

    in_throwaway(story)


def test_unmask_cannot_make_a_locked_root_writable(tmp_path: Path) -> None:
    def story() -> dict[str, Any]:
        switch_root(tmp_path)
        invoke("mount", b"none", b"/", 0, REMOUNT | MS.BIND | MS.RDONLY, 0)
        return observe("unmask")

    seen = in_throwaway(story)
    assert seen["directly"]["remount /"]["errno"] is None
    assert seen["nested"]["remount /"]["errno"] == "EPERM"


@pytest.mark.parametrize("masked", [False, True])
def test_fresh_proc_is_refused_where_the_one_in_sight_is_covered(tmp_path: Path, masked: bool) -> None:
    def story() -> dict[str, Any]:
        switch_root(tmp_path)
        if masked:
            bind("/proc/sys", "/proc/sys", MS.REC)
        return observe("fresh_mount", filesystem="proc", file="sys/kernel/core_pattern")

    seen = in_throwaway(story)
    assert seen["attempts"]["unshare"]["errno"] is None
    assert seen["mounted"] is not masked
    if masked:
        assert seen["attempts"]["mount"]["errno"] == "EPERM"


@pytest.mark.parametrize("readonly", [False, True])
def test_fresh_sysfs_is_refused_where_the_one_in_sight_is_read_only(tmp_path: Path, readonly: bool) -> None:
    def story() -> dict[str, Any]:
        switch_root(tmp_path, sysfs=MS.RDONLY if readonly else MS(0))
        return observe("fresh_mount", filesystem="sysfs", file="kernel/mm/transparent_hugepage/enabled")

    assert in_throwaway(story)["mounted"] is not readonly


@pytest.mark.usefixtures("needs_root")
def test_foreign_mounts_are_listed_with_capabilities_only(tmp_path: Path) -> None:
    number = canaries.place("mount-namespace", {}, tmp_path, "").facts()["number"]
    if not number:
        pytest.skip("listmount(2) takes the number of a namespace since Linux 6.11")

    def story() -> dict[str, Any]:
        return observe("foreign_mounts", host=number)

    seen = in_throwaway(story)
    assert [seen["own"]["errno"], seen["host"]["errno"]] == [None, None]
    assert seen["first"] != []
    denied = in_throwaway(lambda: without_capabilities(story))
    assert [denied["own"]["errno"], denied["host"]["errno"]] == [None, "ENOENT"]
    assert denied["first"] == []


def test_wait_waits() -> None:
    acted: list[bool] = []
    assert observe("wait", lambda: acted.append(True)) == {}
    assert acted == [True]
