"""The probes of the areas mount, cgroup-ns and cgroup-limits: what they see without isolation, and with it.

The outer throwaway plays the host; a second one inside it, or what it does to itself, plays the container.
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import bait, canaries
from harness.runtime.syscalls import CLONE, MNT, MS, invoke
from tests.kernel.throwaway import in_throwaway, without_capabilities

pytestmark = pytest.mark.usefixtures("needs_namespaces")

runner = importlib.import_module("probes.__main__")
for source in Path(runner.HERE).glob("[a-z]*.py"):
    runner.load(source.stem)  # now, because in a root of its own a test does not find them any more

REMOUNT = MS(32)
MEBIBYTE = 1 << 20
LIMIT = 32 * MEBIBYTE


def observe(probe: str, meanwhile: Callable[[], object] = lambda: None, **arguments: object) -> dict[str, Any]:
    """What a probe reports when it is run here; `meanwhile` is what happens at its handshake."""
    observed = runner.load(probe).observe(**arguments)
    if isinstance(observed, dict):
        return observed
    next(observed)
    meanwhile()
    with pytest.raises(StopIteration) as end:
        observed.send({})
    return dict(end.value.value)


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
def test_foreign_mounts_are_listed_with_capabilities_only() -> None:
    def story() -> None:
        seen = observe("foreign_mounts")
        if seen["own"]["errno"] is not None:
            pytest.skip("listmount(2) takes the number of a namespace since Linux 6.11")
        assert len(seen["foreign"]) >= 1
        assert str(seen["number"]) not in seen["foreign"]
        denied = without_capabilities(lambda: observe("foreign_mounts"))
        assert denied["own"]["errno"] is None
        assert denied["foreign"] == {}

    in_throwaway(story)


def test_wait_waits() -> None:
    acted: list[bool] = []
    assert observe("wait", lambda: acted.append(True)) == {}
    assert acted == [True]


@pytest.mark.usefixtures("needs_root")
def test_cgroups_are_seen_from_the_namespace(tmp_path: Path) -> None:
    def story() -> None:
        sibling = canaries.place("cgroup", {}, tmp_path, "")
        facts: dict[str, Any] = sibling.facts()
        name, path = facts["name"], Path(facts["paths"][0])
        found = observe("find_cgroup", name=name)
        assert set(found["found"]) >= set(facts["paths"])
        assert found["directories"] > len(facts["paths"])

        def inside() -> dict[str, Any]:
            for directory in facts["paths"]:
                with contextlib.suppress(OSError):  # ENOSPC: a new cpuset is empty and admits nobody
                    Path(directory, "cgroup.procs").write_text("0")
            outside = observe("cgroups")
            invoke("unshare", CLONE.NEWCGROUP)
            state = observe("cgroup_state", pid=os.getpid())
            return {"outside": outside, "inside": observe("cgroups"), "state": state}

        seen = in_throwaway(inside, CLONE(0))
        assert any(name in each for each in seen["outside"]["self"].values())
        assert set(seen["inside"]["self"].values()) == {"/"}
        assert all(root.startswith("/..") for root in seen["inside"]["roots"].values() if root != "/")
        assert seen["inside"]["controllers"] == seen["outside"]["controllers"]
        assert path.is_dir()
        sibling.close()

    in_throwaway(story, CLONE.NEWPID | CLONE.NEWNS)


@pytest.mark.usefixtures("needs_root")
def test_cgroup_files_are_opened_and_not_written(tmp_path: Path) -> None:
    def story() -> None:
        sibling = canaries.place("cgroup", {}, tmp_path, "")
        path = Path(str(sibling.facts()["paths"][0]))  # type: ignore[index]

        def inside() -> dict[str, Any]:
            (path / "cgroup.procs").write_text("0")
            return observe("cgroup_files") | observe("release_agent")

        seen = in_throwaway(inside, CLONE(0))
        assert any(outcome["errno"] is None for outcome in seen["attempts"].values())
        assert "ENOENT" not in {outcome["errno"] for outcome in seen["attempts"].values()}
        nested = seen["nested"]
        assert nested["unshare"]["errno"] is None
        assert all(outcome["errno"] == "EPERM" for outcome in nested["unbound"].values())
        sibling.close()

    in_throwaway(story, CLONE.NEWPID | CLONE.NEWNS)


@pytest.fixture
def limited(request: pytest.FixtureRequest, needs_root: None) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs a function in a new cgroup with limits: limited("memory", {"memory.limit_in_bytes": …}, function)."""
    own = bait.own_cgroups(set())
    name = f"isoproof-test-{os.getpid()}"

    def run(controller: str, limits: dict[str, int], function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if controller not in own:
            pytest.skip(f"the controller {controller} is not on cgroup version 1 here")

        def inside() -> dict[str, Any]:
            (own[controller] / name / "cgroup.procs").write_text("0")
            return function()

        with bait.new_cgroup(own[controller] / name) as cgroup:
            for file, value in limits.items():
                (cgroup / file).write_text(str(value))
            return in_throwaway(inside, CLONE.NEWPID | CLONE.NEWNS)

    yield run
    left = [path for path in own.values() if (path / name).exists()]
    assert left == []


def state_of_self() -> dict[str, Any]:
    return observe("cgroup_state", pid=os.getpid())


def test_memory_is_taken_up_to_the_limit_and_in_whole_without_one(
    limited: Callable[..., dict[str, Any]],
) -> None:
    def story() -> dict[str, Any]:
        state: dict[str, Any] = {}
        seen = observe("allocate", lambda: state.update(state_of_self()), mebibytes=64)
        return {"seen": seen, "memory": state["memory"], "joined": state["joined"], "own": state["own"]}

    free = limited("memory", {}, story)
    assert free["seen"] == {"touched": 64 * MEBIBYTE, "ended_by": None, "errno": None}
    assert free["memory"]["oom_kill"] == 0
    bound = limited("memory", {"memory.limit_in_bytes": LIMIT}, story)
    assert bound["seen"]["ended_by"] == "SIGKILL"
    assert bound["seen"]["touched"] < LIMIT
    assert (bound["memory"]["version"], bound["memory"]["oom_kill"], bound["memory"]["limit"]) == (1, 1, LIMIT)
    assert bound["joined"] == []  # it asked about itself


def test_files_in_a_tmpfs_are_memory(limited: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    def story() -> dict[str, Any]:
        invoke("mount", b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=48m")
        state: dict[str, Any] = {}
        seen = observe("fill_tmpfs", lambda: state.update(state_of_self()), mebibytes=40)
        assert os.listdir(tmp_path) == []
        return {"seen": seen["filled"][str(tmp_path)], "usage": state["memory"]["usage"]}

    assert limited("memory", {}, story)["seen"] == {"written": 40 * MEBIBYTE, "ended_by": None, "errno": None}
    bound = limited("memory", {"memory.limit_in_bytes": LIMIT}, story)
    assert bound["seen"]["ended_by"] == "SIGKILL"
    assert bound["seen"]["written"] < LIMIT
    assert bound["usage"] < LIMIT // 2


def test_a_full_tmpfs_is_not_a_full_cgroup(tmp_path: Path) -> None:
    def story() -> dict[str, Any]:
        mount_tmpfs(tmp_path)
        return dict(observe("fill_tmpfs", mebibytes=2)["filled"][str(tmp_path)])

    assert in_throwaway(story) == {"written": MEBIBYTE, "ended_by": None, "errno": "ENOSPC"}


def test_pipes_are_memory(limited: Callable[..., dict[str, Any]]) -> None:
    def story() -> dict[str, Any]:
        return observe("fill_pipes", pipes=40)

    assert limited("memory", {}, story) == {"written": 40 * MEBIBYTE, "ended_by": None, "errno": None}
    bound = limited("memory", {"memory.limit_in_bytes": LIMIT}, story)
    assert bound["ended_by"] == "SIGKILL"
    assert bound["written"] < LIMIT


def test_processes_and_threads_are_counted_together(limited: Callable[..., dict[str, Any]]) -> None:
    def story() -> dict[str, Any]:
        state: dict[str, Any] = {}
        seen = observe("exhaust_tasks", lambda: state.update(state_of_self()), most=20)
        return seen | {"pids": state["pids"]}

    free = limited("pids", {}, story)
    # The process itself makes 21 tasks; the child that starts threads, 22.
    assert free["processes"] == {"created": 20, "errno": None, "tasks": 21}
    assert free["threads"] == {"created": 20, "errno": None, "tasks": 22}
    bound = limited("pids", {"pids.max": 12}, story)
    assert bound["processes"] == {"created": 11, "errno": "EAGAIN", "tasks": 12}
    assert bound["threads"] == {"created": 10, "errno": "EAGAIN", "tasks": 12}
    assert bound["pids"] == {"version": 1, "limit": 12, "usage": 1, "refused": 2}


def test_cpu_time_is_bounded_by_the_quota(limited: Callable[..., dict[str, Any]]) -> None:
    def story() -> dict[str, Any]:
        state: dict[str, Any] = {}
        before = observe("cpu_time", pid=os.getpid())["seconds"]
        seen = observe("burn", lambda: state.update(state_of_self()), seconds=0.3, cpu=min(os.sched_getaffinity(0)))
        used = observe("cpu_time", pid=os.getpid())["seconds"] - before
        return seen | {"used": used, "cpu": state["cpu"]}

    bound = limited("cpu", {"cpu.cfs_period_us": 20_000, "cpu.cfs_quota_us": 2_000}, story)
    assert bound["cpu_seconds"] < 0.1
    assert bound["wall_seconds"] >= 0.3
    assert abs(bound["used"] - bound["cpu_seconds"]) < 0.05
    assert bound["cpu"]["throttled"] >= 5
    assert limited("cpu", {}, story)["cpu"]["throttled"] == 0


def test_cpu_time_of_nobody_is_null() -> None:
    assert in_throwaway(lambda: observe("cpu_time", pid=30_000)) == {"seconds": None}


def test_oom_score_reads_and_changes_only_a_child() -> None:
    def story() -> dict[str, Any]:
        Path("/proc/self/oom_score_adj").write_text("700")
        first = observe("oom_score")
        assert observe("oom_score") == first
        return first

    seen = in_throwaway(story)
    assert (seen["value"], seen["init_value"]) == (700, 700)
    assert seen["never"]["errno"] in ("EACCES", None)
