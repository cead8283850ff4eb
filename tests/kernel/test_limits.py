"""Limits and cgroups against the real kernel, of whichever version it has: read on the host, felt inside, undone."""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.runtime import cgroup, folders, inspect, leftovers, members
from harness.runtime.config import Config, read
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.launch import run, start
from harness.runtime.plan import plan
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_root", "needs_namespaces")

Missing = Callable[[str], NoReturn]
MIB = 1 << 20


def host_controllers() -> dict[str, int]:
    """The controllers of this host, each with the version of its hierarchy."""
    return {name: hierarchy.version for hierarchy in inspect.hierarchies(set()) for name in hierarchy.controllers}


def limited(directory: Path, *command: str, **resources: Any) -> tuple[Path, Config]:
    directory, config = bundle(directory, *command)
    config["linux"]["resources"] = resources
    return directory, read(config)


@contextlib.contextmanager
def running(directory: Path, config: Config) -> Iterator[dict[str, Path]]:
    """Run a container that sleeps; yield the directory of its cgroup of each controller."""
    host = inspect.host(config, directory)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with start(plan(config, host), (null, null, null)):
            yield {
                name: Path(cgroup.directory(hierarchy, config, host))
                for hierarchy in host.hierarchies
                for name in hierarchy.controllers | ({"cgroup"} if hierarchy.version == 2 else {"freezer"})
            }
    finally:
        os.close(null)


def disk(missing: Missing) -> tuple[int, int]:
    for path in sorted(Path("/sys/block").glob("*/dev"), key=lambda path: "loop" in str(path)):
        major, minor = path.read_text().split(":")
        return int(major), int(minor)
    missing("this machine has no block device")


# field: value, then what the host's files of version 1 and of version 2 read, by file
FELT: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, str]]] = {
    "memory": (
        {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "checkBeforeUpdate": True}},
        {"memory.limit_in_bytes": str(64 * MIB), "memory.soft_limit_in_bytes": str(32 * MIB)},
        {"memory.max": str(64 * MIB), "memory.low": str(32 * MIB)},
    ),
    "memory with swap": (
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        {"memory.memsw.limit_in_bytes": str(96 * MIB)},
        {"memory.max": str(64 * MIB), "memory.swap.max": str(32 * MIB)},
    ),
    "pids": ({"pids": {"limit": 77}}, {"pids.max": "77"}, {"pids.max": "77"}),
    "cpu bandwidth": (
        {"cpu": {"quota": 50_000, "period": 80_000, "burst": 10_000}},
        {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "80000", "cpu.cfs_burst_us": "10000"},
        {"cpu.max": "50000 80000", "cpu.max.burst": "10000"},
    ),
    "cpu weight": ({"cpu": {"shares": 512}}, {"cpu.shares": "512"}, {"cpu.weight": "20"}),
    "cpu idle": ({"cpu": {"shares": 512, "idle": 1}}, {"cpu.idle": "1"}, {"cpu.idle": "1"}),
    "cpuset": (
        {"cpu": {"cpus": "0", "mems": "0"}},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
        {"cpuset.cpus": "0", "cpuset.mems": "0"},
    ),
    "huge pages": (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
        {"hugetlb.2MB.limit_in_bytes": str(4 * MIB), "hugetlb.2MB.rsvd.limit_in_bytes": str(4 * MIB)},
        {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)},
    ),
}
ONLY_V1: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "tcp buffers": ({"memory": {"kernelTCP": 1 << 20}}, {"memory.kmem.tcp.limit_in_bytes": str(1 << 20)}),
    "swappiness": ({"memory": {"swappiness": 10}}, {"memory.swappiness": "10"}),
    "oom killer": ({"memory": {"disableOOMKiller": True}}, {"memory.oom_control": "oom_kill_disable 1"}),
    "realtime": (
        {"cpu": {"realtimePeriod": 500_000, "realtimeRuntime": 5000}},
        {"cpu.rt_period_us": "500000", "cpu.rt_runtime_us": "5000"},
    ),
}


@pytest.mark.parametrize("name", FELT)
def test_what_is_asked_for_stands_in_the_hosts_files(tmp_path: Path, name: str, missing: Missing) -> None:
    resources, *expected = FELT[name]
    controllers = host_controllers()
    needed = {file.partition(".")[0] for file in expected[0]}
    if needed - set(controllers):
        missing(f"no cgroup hierarchy has the controller {', '.join(needed - set(controllers))}")
    before = snapshot()
    with running(*limited(tmp_path, "sleep", "60", **resources)) as directories:
        for file, text in expected[controllers[needed.pop()] - 1].items():
            path = directories[file.partition(".")[0]] / file
            if not path.exists() and "swap" in path.name:
                missing("this kernel counts no swap")
            assert path.read_text().strip() == text, path
    assert snapshot() == before


@pytest.mark.parametrize("name", ONLY_V1)
def test_what_version_2_does_not_have_is_refused_there(tmp_path: Path, name: str) -> None:
    resources, expected = ONLY_V1[name]
    file = next(iter(expected))
    directory, config = limited(tmp_path, "sleep", "60", **resources)
    if host_controllers().get(file.partition(".")[0]) == 1:
        with running(directory, config) as directories:
            for file, text in expected.items():
                path = directories[file.partition(".")[0]] / file
                assert path.read_text().splitlines()[0] == text, path
    else:
        with pytest.raises(StartError, match=rf"limit .*: no mounted cgroup hierarchy .*{file} \(version 1\)"):
            output_of(directory, config)


def test_the_rates_of_a_device_stand_in_the_hosts_files(tmp_path: Path, missing: Missing) -> None:
    major, minor = disk(missing)
    entry = [{"major": major, "minor": minor, "rate": 1 << 20}]
    operations = [{"major": major, "minor": minor, "rate": 100}]
    resources = {"throttleReadBpsDevice": entry, "throttleWriteIOPSDevice": operations}
    directory, config = limited(tmp_path, "sleep", "60", blockIO=resources)
    with running(directory, config) as directories:
        if host_controllers().get("blkio") == 1:
            files = directories["blkio"]
            assert (files / "blkio.throttle.read_bps_device").read_text() == f"{major}:{minor} 1048576\n"
            assert (files / "blkio.throttle.write_iops_device").read_text() == f"{major}:{minor} 100\n"
        else:
            text = (directories["io"] / "io.max").read_text()
            assert text == f"{major}:{minor} rbps=1048576 wbps=max riops=max wiops=100\n"


def test_a_file_of_version_2_is_written_by_its_name_or_refused(tmp_path: Path) -> None:
    directory, config = limited(tmp_path, "sleep", "60", unified={"memory.high": "33554432"})
    if host_controllers().get("memory") == 2:
        with running(directory, config) as directories:
            assert (directories["memory"] / "memory.high").read_text() == "33554432\n"
    else:
        sentence = "limit unified.memory.high: no mounted cgroup hierarchy has the controller memory .* memory.high"
        with pytest.raises(StartError, match=sentence):
            output_of(directory, config)


def test_a_controller_that_is_not_there_is_named(tmp_path: Path) -> None:
    if {"rdma", "net_cls"} & set(host_controllers()):
        pytest.skip("this host has these controllers")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, "limit rdma: .* controller rdma .* rdma.max"),
        ({"network": {"classID": 1}}, "limit network.classID: .* net_cls .* net_cls.classid"),
    ]
    for number, (resources, sentence) in enumerate(cases):
        with pytest.raises(StartError, match=sentence):
            output_of(*limited(tmp_path / str(number), **resources))


def test_a_value_that_the_kernel_refuses_is_an_error_with_its_file(tmp_path: Path) -> None:
    directory, config = limited(tmp_path, cpu={"cpus": "99999"})
    before = snapshot()
    with pytest.raises(StartError) as caught:
        output_of(directory, config)
    assert caught.value.step == "limit:cpuset"
    assert "limit:cpuset: write($file</sys/fs/cgroup/" in str(caught.value)
    assert 'cpuset.cpus>, "99999"' in str(caught.value)
    assert snapshot() == before


def test_memory_is_limited_inside(tmp_path: Path) -> None:
    command = "busybox dd if=/dev/zero of=/dev/null bs=100M count=1"
    limit = {"limit": 32 * MIB, "swap": 32 * MIB}
    with contextlib.suppress(StartError):  # a kernel that counts no swap
        assert output_of(*limited(tmp_path / "swap", "sh", "-c", f"{command}; exit $?", memory=limit))[0] == 137
    assert output_of(*limited(tmp_path / "free", "sh", "-c", command, pids={"limit": 9}))[0] == 0


def test_cpus_are_limited_inside(tmp_path: Path) -> None:
    status, text = output_of(*limited(tmp_path, "cat", "/proc/self/status", cpu={"cpus": "0"}))
    assert status == 0
    assert "Cpus_allowed_list:\t0\n" in text


def test_limits_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"linux\.resources\.memory\.swap: below memory\.limit"):
        output_of(*limited(tmp_path, memory={"limit": 2 * MIB, "swap": MIB}))


def inner_cgroups(config: Config) -> Config:
    """Give a container its cgroups, to write in."""
    config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw", "nosuid"]}
    )
    return config


MAKE = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -f $d/cgroup.procs ] && busybox mkdir -p $d/a/b; done"
FREEZE = (  # version 1 first, where it is: what it stops does not even die
    "for f in $(busybox find /sys/fs/cgroup -name freezer.state); do echo FROZEN > $f; done; "
    "for f in $(busybox find /sys/fs/cgroup -name cgroup.freeze); do echo 1 > $f; done"
)


@pytest.mark.parametrize("pid_namespace", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        f"{MAKE}; exit 0",
        f"{MAKE}; (trap '' TERM HUP; busybox setsid sleep 600) & exit 0",
        f"{MAKE}; {FREEZE}; sleep 600",
        f"(while :; do {FREEZE}; done) & sleep 600",
    ],
    ids=["own cgroups", "daemon", "frozen", "freezing"],
)
def test_nothing_stays_behind_whatever_the_container_does_with_its_cgroups(
    tmp_path: Path, command: str, pid_namespace: bool
) -> None:
    directory, config = limited(tmp_path, "sh", "-c", command, pids={"limit": 50})
    inner_cgroups(config)
    if not pid_namespace:
        config["linux"]["namespaces"].remove({"type": "pid"})
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] not in ("proc", "mqueue")]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    before = snapshot()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        run(read(config), directory, (null, null, null), 0.5)
    finally:
        os.close(null)
    assert snapshot() == before


def test_a_frozen_daemon_does_not_hold_up_the_end(tmp_path: Path) -> None:
    # Where the freezer is of version 1, the first process cannot end before the daemon has, which does not before it is
    # thawed; with version 2 the kernel kills what is frozen. Nobody keeps a deadline here but the test.
    freeze = (
        "sleep 600 & f=$(busybox find /sys/fs/cgroup -name freezer.state | busybox head -n 1); "
        "[ $f ] || f=$(busybox find /sys/fs/cgroup -name cgroup.freeze | busybox head -n 1); "
        "inner=${f%/*}/inner; busybox mkdir $inner; echo $! > $inner/cgroup.procs; "
        "case $f in *state) echo FROZEN;; *) echo 1;; esac > $inner/${f##*/}; exit 3"
    )
    directory, config = limited(tmp_path, "sh", "-c", freeze, pids={"limit": 50})
    inner_cgroups(config)
    before = snapshot()
    launcher = os.fork()
    if launcher == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os._exit(run(read(config), directory, (null, null, null)))
    ended = select.poll()
    pidfd = os.pidfd_open(launcher)
    ended.register(pidfd, select.POLLIN)
    in_time = ended.poll(10_000)
    os.kill(launcher, signal.SIGTERM)
    status = os.waitpid(launcher, 0)[1]
    os.close(pidfd)
    assert in_time
    assert os.waitstatus_to_exitcode(status) == 3
    assert snapshot() == before


def test_a_container_without_a_pid_namespace_leaves_no_daemon(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "busybox setsid sleep 613 > /dev/null & exit 0")
    config["linux"]["namespaces"].remove({"type": "pid"})
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] not in ("proc", "mqueue")]
    config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    before = snapshot()
    assert output_of(directory, read(config))[0] == 0
    assert snapshot() == before
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x00613" in contents(path)]


def contents(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def test_a_cgroup_around_two_containers_stays_until_both_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    around = f"isoproof-test-{os.getpid()}"
    there = [Path(hierarchy.parent, around) for hierarchy in inspect.hierarchies(set())]
    (first, asked), (second, also) = (
        limited(tmp_path / name, "sh", "-c", "echo .; exec sleep 600", pids={"limit": 5}) for name in ("a", "b")
    )
    asked["linux"]["cgroupsPath"], also["linux"]["cgroupsPath"] = f"{around}/a", f"{around}/b"
    before = snapshot()
    launchers = [launched(directory, config) for directory, config in ((first, asked), (second, also))]
    os.kill(launchers[0], signal.SIGTERM)
    os.waitpid(launchers[0], 0)
    assert [line.strip().partition(" ")[0] for line in leftovers.remove()][1:].count("left")
    os.kill(launchers[1], 0)
    alive = members.processes(there[0] / "b")
    os.kill(launchers[1], signal.SIGTERM)
    os.waitpid(launchers[1], 0)
    assert len(alive) == 1
    said = list(leftovers.remove())
    assert any("removed cgroup" in line for line in said)
    assert not any(line.startswith("  left") for line in said)
    assert not any(path.exists() for path in there)
    assert snapshot() == before


def launched(directory: Path, config: Config) -> int:
    """Run a container in a process of its own, which SIGTERM ends in order, and wait until its program runs."""
    reader, writer = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        null = os.open("/dev/null", os.O_RDWR)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with contextlib.suppress(SystemExit):
            run(config, directory, (null, writer, writer))
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"."
    os.close(reader)
    return launcher


@pytest.mark.parametrize("neighbour", [False, True])
def test_a_controller_is_handed_down_only_while_somebody_lives_below(
    tmp_path: Path, neighbour: bool, missing: Missing
) -> None:
    unified = next((each for each in inspect.hierarchies(set()) if each.version == 2), None)
    handed = Path(unified.own, "cgroup.subtree_control").read_text().split() if unified else []
    size = next(iter(Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB")), None)
    if unified is None or "hugetlb" not in handed or size is None:
        missing("no cgroup of version 2 hands hugetlb down here")
    above = Path(unified.own, f"isoproof-test-{os.getpid()}")
    host, other = above / "host", above / "other"
    for path in (above, host, *([other] if neighbour else [])):
        path.mkdir()
    directory, config = bundle(tmp_path)
    config["linux"]["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}
    child = os.fork()
    if child == 0:
        (host / "cgroup.procs").write_text("0")
        null = os.open("/dev/null", os.O_RDWR)
        os._exit(run(read(config), directory, (null, null, null), 20.0))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = (above / "cgroup.subtree_control").read_text().split()
    for path in (host, *([other] if neighbour else []), above):
        path.rmdir()
    assert (status, left) == (0, ["hugetlb"] if neighbour else [])


def ticks(pid: int) -> int:
    return sum(int(text) for text in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])


def test_a_container_is_frozen_thawed_and_killed(tmp_path: Path) -> None:
    with running(*limited(tmp_path, "sh", "-c", "while :; do :; done", pids={"limit": 5})) as directories:
        path = next(
            path
            for path in directories.values()
            if any((path / file).exists() for file in ("cgroup.freeze", "freezer.state"))
        )
        (pid,) = members.processes(path)
        assert members.freeze(path)
        before = ticks(pid)
        time.sleep(0.2)
        assert ticks(pid) == before
        members.thaw(path)
        time.sleep(0.2)
        assert ticks(pid) > before
        members.freeze(path)
        assert members.kill(path)
        assert members.processes(path) == []
