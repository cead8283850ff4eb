"""Facts about this machine: cgroup layouts as kernels and container tools present them, and the one line."""

from pathlib import Path

import pytest

from harness import environment

V1_MEMBERSHIPS = "8:pids:/\n4:memory:/jobs/a\n2:cpu,cpuacct:/jobs\n0::/\n"


def mount(kind: str, point: Path, options: str, root: str = "/") -> str:
    return f"29 23 0:26 {root} {point} rw,relatime shared:7 - {kind} {kind} rw,{options}\n"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.18.44-fc", [6, 18]),
        ("5.10", [5, 10]),
        ("6.1-rc3", [6, 1]),
        ("4.19.0-25-amd64", [4, 19]),
        ("unknown", [0, 0]),
        ("6", [0, 0]),
    ],
)
def test_kernel_version_is_two_numbers(release: str, expected: list[int]) -> None:
    assert environment.kernel_version(release) == expected


def test_version_1_controllers_are_found_where_they_are_mounted(tmp_path: Path) -> None:
    for directory in ("memory/jobs/a", "pids", "cpu/jobs"):
        (tmp_path / directory).mkdir(parents=True)
    mounts = (
        mount("cgroup", tmp_path / "memory", "memory")
        + mount("cgroup", tmp_path / "pids", "pids")
        + mount("cgroup", tmp_path / "cpu", "cpu,cpuacct")
    )
    facts = environment.cgroup_facts(V1_MEMBERSHIPS, mounts)
    assert facts == {"memory": 1, "pids": 1, "cpu": 1, "cpuset": 0, "writable": True}


def test_a_version_1_controller_that_is_not_mounted_is_none(tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    facts = environment.cgroup_facts(V1_MEMBERSHIPS, mount("cgroup", tmp_path / "pids", "pids"))
    assert facts == {"memory": 0, "pids": 1, "cpu": 0, "cpuset": 0, "writable": False}


def test_version_2_controllers_are_those_of_our_own_cgroup(tmp_path: Path) -> None:
    own = tmp_path / "user.slice"
    own.mkdir()
    (own / "cgroup.controllers").write_text("memory pids\n")
    facts = environment.cgroup_facts("0::/user.slice\n", mount("cgroup2", tmp_path, "nsdelegate"))
    assert facts == {"memory": 2, "pids": 2, "cpu": 0, "cpuset": 0, "writable": False}


def test_a_cgroup_is_found_below_a_mount_of_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "inner" / "cgroup.procs").touch()
    mounts = mount("cgroup2", tmp_path, "nsdelegate", root="/docker/abc")
    facts = environment.cgroup_facts("0::/docker/abc/inner\n", mounts)
    assert facts == {"memory": 2, "pids": 2, "cpu": 2, "cpuset": 0, "writable": True}


def test_a_session_has_the_controllers_of_the_cgroup_that_was_delegated(tmp_path: Path) -> None:
    """systemd-run --property=Delegate=yes --property=DelegateSubgroup=session: the processes are in a leaf."""
    session = tmp_path / "service" / "session"
    session.mkdir(parents=True)
    (tmp_path / "service/cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "service/cgroup.procs").touch()
    (session / "cgroup.controllers").touch()
    mounts = mount("cgroup2", tmp_path, "nsdelegate")
    facts = environment.cgroup_facts("0::/service/session\n", mounts)
    assert facts == {"memory": 2, "pids": 2, "cpu": 2, "cpuset": 0, "writable": True}
    beside = environment.cgroup_facts("0::/../elsewhere\n", mounts)
    assert beside == {"memory": 0, "pids": 0, "cpu": 0, "cpuset": 0, "writable": False}


def test_no_cgroups_at_all_is_no_error() -> None:
    assert environment.cgroup_facts("", "") == {"memory": 0, "pids": 0, "cpu": 0, "cpuset": 0, "writable": False}


def test_facts_of_this_machine_agree_with_the_kernel() -> None:
    facts = environment.facts()
    assert facts["kernel"] >= [4, 0]
    assert "uts" in facts["namespaces"]
    assert facts["versions"]["pytest"] == pytest.__version__
    assert environment.facts() is facts


def test_one_line_names_what_limits_a_verdict() -> None:
    facts = {
        **environment.facts(),
        "uid": 1000,
        "rootless": True,
        "lsms": [],
        "cgroup": {"memory": 2, "pids": 0, "cpu": 1, "writable": False},
    }
    line = environment.one_line(facts)
    assert "uid 1000 (rootless)" in line
    assert "cgroup memory=v2 no pids cpu=v1 (not writable)" in line
    assert "lsm unknown" in line
    assert "\n" not in line
