"""The probes of the areas cgroup-ns and cgroup-limits: what they see without isolation, and with it.

The outer throwaway plays the host; a second one inside it, or what it does to itself, plays the container.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import bait, canaries
from harness.runtime.syscalls import CLONE, invoke
from tests.kernel.probing import observe
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")

MEBIBYTE = 1 << 20
LIMIT = 32 * MEBIBYTE


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
        invoke("mount", b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=1m")
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
