"""The plan, without privileges: what is in it, in which order, and how it reads."""

import re
from typing import Any

import pytest

from harness.runtime.errors import ConfigError, StartError
from harness.runtime.plan import explain, plan
from harness.runtime.spec import example
from harness.runtime.step import Call, Hierarchy, Host, Plan
from harness.runtime.syscalls import AT_FDCWD, CLONE, MS

V1 = Hierarchy(
    "/sys/fs/cgroup/pids", 1, frozenset({"pids"}), "/sys/fs/cgroup/pids/me", "/sys/fs/cgroup/pids/me", ("pids",)
)
V2 = Hierarchy("/sys/fs/cgroup", 2, frozenset({"memory", "pids", "cpu"}), "/sys/fs/cgroup/me", "/sys/fs/cgroup/me")


def made(uid: int = 0, hierarchies: tuple[Hierarchy, ...] = (), **linux: Any) -> Plan:
    config = example(uid, uid)
    config["linux"] |= linux
    return plan(config, Host("isoproof-1", "/bundle/rootfs", uid=uid, gid=uid, kernel=(6, 18), hierarchies=hierarchies))


def names(wanted: Plan) -> list[str]:
    return [step.name for step in wanted.steps]


def calls(wanted: Plan, name: str) -> list[str]:
    return [str(call) for step in wanted.steps if step.name == name for call in step.calls]


def in_order(wanted: list[str], *some: str) -> bool:
    return [wanted.index(name) for name in some] == sorted(wanted.index(name) for name in some)


def test_the_order_is_the_one_that_makes_it_safe() -> None:
    steps = names(made())
    assert in_order(
        steps, "open-root", "private", "attach-root", "pivot-root", "drop-old-root", "enter-root", "mount:/proc"
    )
    assert in_order(
        steps, "mount:/proc", "mount:/dev", "devices", "read-only:/proc/sys", "mask:/proc/keys", "root-read-only"
    )
    assert in_order(steps, "bounding-set", "user", "capabilities", "no-new-privileges", "parent-death", "descriptors")
    assert steps[-3:] == ["working-directory", "program", "execute"]


def test_all_namespaces_but_the_cgroup_namespace_are_there_from_birth() -> None:
    flags = made().flags
    assert flags == CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET
    assert made(uid=1000).flags == flags | CLONE.NEWUSER
    assert calls(made(), "cgroup-namespace") == ["unshare(CLONE_NEWCGROUP)"]


def test_the_cgroup_is_joined_before_its_namespace_is_made() -> None:
    wanted = made(hierarchies=(V1,), resources={"pids": {"limit": 5}})
    assert in_order(names(wanted), "join:pids", "cgroup-namespace", "open-root")
    assert [step.name for step in wanted.before] == ["cgroup:/sys/fs/cgroup/pids/me/isoproof-1", "limit:pids"]
    assert [str(call) for call in wanted.before[0].undo] == [
        'unlinkat(AT_FDCWD, "/sys/fs/cgroup/pids/me/isoproof-1", 512)'
    ]


def test_on_version_2_the_child_is_born_into_its_cgroup() -> None:
    resources = {"memory": {"limit": 4096, "swap": 8192}, "pids": {"limit": -1}, "cpu": {"quota": 500, "period": 1000}}
    wanted = made(hierarchies=(V2,), resources=resources)
    assert wanted.into == "/sys/fs/cgroup/me/isoproof-1"
    assert not any(name.startswith("join") for name in names(wanted))
    written = [call.arguments[1] for step in wanted.before for call in step.calls if call.name == "write"]
    assert written == ["4096", "4096", "max", "500 1000"]


def test_a_limit_without_a_controller_is_an_error_that_names_it() -> None:
    with pytest.raises(StartError, match=r"limit memory\.limit: no mounted cgroup hierarchy has the controller memory"):
        made(hierarchies=(V1,), resources={"memory": {"limit": 4096}})


def test_a_container_without_limits_touches_no_cgroup() -> None:
    wanted = made(hierarchies=(V1, V2))
    assert (wanted.before, wanted.into) == ((), "")


def test_an_ordinary_users_maps_are_written_while_the_child_waits() -> None:
    wanted = made(uid=1000)
    assert [step.name for step in wanted.between] == ["deny-setgroups", "gid-map", "uid-map"]
    assert names(wanted)[:3] == ["early-parent-death", "wait-for-host", "reset-memory"]
    assert in_order(names(wanted), "reset-memory", "mapped-ids", "open-root")
    assert "setgroups" not in " ".join(calls(wanted, "user"))


def test_an_ordinary_users_own_maps_are_left_to_the_helpers_where_they_are_more_than_his_id() -> None:
    maps = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}]
    wanted = made(uid=1000, uidMappings=maps, gidMappings=maps)
    assert [step.name for step in wanted.between] == ["gid-map", "uid-map"]
    assert wanted.between[1].program == ("newuidmap", "{pid}", "0", "1000", "1", "1", "100000", "65536")
    assert "newgidmap {pid} 0 1000 1 1 100000 65536" in explain(wanted)
    assert "setgroups" in " ".join(calls(wanted, "user"))


@pytest.mark.parametrize(
    ("extents", "sentence"),
    [
        ([(0, 1000, 10), (5, 2000, 10)], r"linux.uidMappings\[1\].containerID: overlaps with entry 0"),
        ([(0, 1000, 10), (10, 1009, 10)], r"linux.uidMappings\[1\].hostID: overlaps with entry 0"),
        ([(0, 2**32 - 2, 2)], r"linux.uidMappings\[0\].size: goes beyond the last id"),
        ([(index, index, 1) for index in range(341)], "linux.uidMappings: more than the 340 lines"),
        ([(1, 1000, 10)], "process.user.uid: 0 is not mapped by linux.uidMappings"),
    ],
)
def test_id_maps_that_the_kernel_would_refuse_are_refused(extents: list[tuple[int, int, int]], sentence: str) -> None:
    maps = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in extents]
    with pytest.raises(ConfigError, match=sentence):
        made(namespaces=[{"type": "mount"}, {"type": "uts"}, {"type": "user"}], uidMappings=maps, gidMappings=maps)


def joining(*types: str, uid: int = 0) -> Plan:
    entries = [{"type": name, "path": f"/run/{name}"} for name in types]
    new = {"mount", "pid", "uts", "ipc", "network", "cgroup"} - set(types)
    return made(uid=uid, namespaces=entries + [{"type": name} for name in sorted(new)])


def test_root_joins_a_user_namespace_last_and_an_ordinary_user_first() -> None:
    assert [step.name for step in joining("user", "network", "pid").enter] == [
        "open-namespaces",
        "undumpable",
        "enter:network",
        "enter:pid",
        "enter:user",
    ]
    assert [step.name for step in joining("network", "user", uid=1000).enter][2:] == ["enter:user", "enter:network"]


def test_what_nobody_in_a_user_namespace_may_set_is_set_by_root_from_outside() -> None:
    def with_preference(uid: int) -> Plan:
        config = example(1, 1)  # an ordinary user's, which has a user namespace
        config["process"]["oomScoreAdj"] = 5
        return plan(config, Host("isoproof-1", "/bundle/rootfs", uid=uid, gid=uid, kernel=(6, 18)))

    assert [step.name for step in with_preference(0).between][:2] == ["reset-priority", "oom-score"]
    assert "oom-score" not in names(with_preference(0))
    assert not {"reset-priority", "oom-score"} & {step.name for step in with_preference(1).between}
    assert "oom-score" in names(with_preference(1))


def test_what_is_joined_is_neither_made_nor_set_up() -> None:
    wanted = joining("user", "network", "pid", "cgroup")
    assert wanted.flags == CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC
    assert not {"loopback", "cgroup-namespace"} & set(names(wanted))
    assert [step.name for step in wanted.between] == ["reset-priority"]
    assert "setns($network-namespace, CLONE_NEWNET)" in explain(wanted)


def test_a_time_namespace_with_offsets_is_entered_after_they_are_set() -> None:
    spaces = [{"type": name} for name in ("mount", "uts", "time")]
    assert CLONE.NEWTIME in made(namespaces=spaces).flags
    wanted = made(namespaces=spaces, timeOffsets={"monotonic": {"secs": -5}})
    assert CLONE.NEWTIME not in wanted.flags
    assert [call.partition("(")[0] for call in calls(wanted, "time-offsets")] == (
        ["unshare", "openat", "write", "close", "openat", "setns", "close"]
    )
    assert 'write($file, "monotonic -5 0\\n", 15)' in calls(wanted, "time-offsets")


def test_devices_are_made_by_root_and_bound_in_a_user_namespace() -> None:
    assert 'mknodat($dev, "null", 020666, 259)' in calls(made(), "devices")
    assert "open-devices" in names(made(uid=1000))
    assert not any("259" in call for call in calls(made(uid=1000), "devices"))


def test_what_is_inherited_is_reset_whatever_the_config_says() -> None:
    for uid in (0, 1000):
        steps = names(made(uid=uid))
        assert {"reset-memory", "reset-scheduling", "personality", "session-keyring"} <= set(steps)
        assert not {"scheduler", "io-priority"} & set(steps)
        assert calls(made(uid=uid), "personality") == ["personality(0)"]


@pytest.mark.parametrize(
    ("scheduler", "sentence"),
    [
        ({"policy": "SCHED_RR"}, r"process\.scheduler\.priority: SCHED_RR needs one, from 1 to 99"),
        ({"policy": "SCHED_IDLE", "nice": 5}, r"process\.scheduler\.nice: SCHED_IDLE has none"),
        ({"policy": "SCHED_OTHER", "period": 5}, r"process\.scheduler\.period: SCHED_OTHER has none"),
        ({"policy": "SCHED_DEADLINE"}, r"SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period"),
        ({"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000}, "1024 <= runtime <= deadline <= period"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "cannot be handed on to a child"),
    ],
)
def test_a_scheduler_that_makes_no_sense_is_refused(scheduler: dict[str, Any], sentence: str) -> None:
    config = example(0, 0) | {"annotations": {"isoproof.init": "true"}}
    config["process"]["scheduler"] = scheduler
    with pytest.raises(ConfigError, match=sentence):
        plan(config, Host("isoproof-1", "/bundle/rootfs"))


def test_scheduler_and_io_priority_are_set_while_there_is_a_right_to() -> None:
    config = example(0, 0)
    config["process"]["scheduler"] = {"policy": "SCHED_FIFO", "priority": 3}
    config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    wanted = plan(config, Host("isoproof-1", "/bundle/rootfs"))
    assert in_order(names(wanted), "reset-scheduling", "io-priority", "scheduler", "session-keyring", "user")
    assert calls(wanted, "scheduler") == ["sched_setattr(0, {policy=SCHED_FIFO, priority=3, flags=0x0}, 0)"]
    assert calls(wanted, "io-priority") == ["ioprio_set(1, 0, 24576)"]


def test_a_plan_reads_like_strace() -> None:
    text = explain(made())
    assert "pivot-root: swaps the roots" in text
    assert '    mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)' in text
    assert "# clone3(CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWPID|CLONE_NEWNET)" in text
    assert all(f"{step.name}: {step.why}" in text for step in made().steps)


def test_a_plan_tells_how_long_its_steps_take_where_that_is_known() -> None:
    text = explain(made(), {"pivot-root": 44.88, "clone": 661.7, "a step of another plan": 1.0})
    assert "pivot-root (44.9 us): swaps the roots" in text
    assert "on the host, while the child waits (661.7 us)\n" in text
    assert text.count(" us)") == 2


def test_every_step_says_why_with_a_source() -> None:
    for step in made(uid=1000, hierarchies=(V1, V2), resources={"pids": {"limit": 5}}).steps:
        assert re.search(r"[a-z_0-9]+\([24578]\)|runtime-spec", step.why), step.name


def test_leaving_out_and_exchanging_steps() -> None:
    wanted = made()
    assert "pivot-root" not in names(wanted.without("pivot-root"))
    with pytest.raises(KeyError):
        wanted.exchange("no-such-step")


def test_flags_print_by_the_kernels_names() -> None:
    assert str(MS.REC | MS.PRIVATE) == "MS_REC|MS_PRIVATE"
    assert str(MS(0)) == "0"


EVERYTHING: dict[str, Any] = {
    "memory": {"limit": 4096, "swap": 8192, "reservation": -1, "checkBeforeUpdate": True},
    "cpu": {"quota": 500, "period": 1000, "burst": 7, "shares": 2, "idle": 1, "cpus": "0-1", "mems": ""},
    "pids": {"limit": 0},
    "blockIO": {
        "weight": 1000,
        "weightDevice": [{"major": 8, "minor": 1, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}, {"major": 9, "minor": 0, "rate": 0}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 6}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
    "rdma": {"mlx": {"hcaHandles": 3, "hcaObjects": 4}},
}
ONLY_V1: dict[str, Any] = {
    "memory": {"swappiness": 0, "disableOOMKiller": True},
    "cpu": {"realtimePeriod": 9, "realtimeRuntime": 8},
    "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 2}]},
}


def written(version: int, controllers: str, resources: dict[str, Any]) -> list[str]:
    """Return `file=text` for every limit of the plan, on a host with these controllers in one hierarchy."""
    hierarchy = Hierarchy("/c", version, frozenset(controllers.split()), "/c/me", "/c/me")
    steps = [step for step in made(hierarchies=(hierarchy,), resources=resources).before if step.name[:5] == "limit"]
    assert all(len(step.calls) == 3 and step.calls[2].name == "close" for step in steps)
    return [f"{str(step.calls[0].arguments[1])[17:]}={step.calls[1].arguments[1]}" for step in steps]


def test_every_limit_goes_into_its_file_of_version_1() -> None:
    controllers = "memory cpu cpuset pids blkio hugetlb rdma net_cls net_prio"
    assert written(1, controllers, EVERYTHING) == [
        "memory.limit_in_bytes=4096",
        "memory.memsw.limit_in_bytes=8192",
        "memory.soft_limit_in_bytes=-1",
        "pids.max=max",
        "cpu.cfs_period_us=1000",
        "cpu.cfs_quota_us=500",
        "cpu.cfs_burst_us=7",
        "cpu.shares=2",
        "cpu.idle=1",
        "cpuset.cpus=0-1",
        "blkio.bfq.weight=1000",
        "blkio.bfq.weight_device=8:1 10",
        "blkio.throttle.read_bps_device=8:0 5",
        "blkio.throttle.read_bps_device=9:0 0",
        "blkio.throttle.write_iops_device=8:0 6",
        "rdma.max=mlx hca_handle=3 hca_object=4",
        "hugetlb.2MB.rsvd.limit_in_bytes=0",
        "hugetlb.2MB.limit_in_bytes=0",
    ]
    assert written(1, controllers, ONLY_V1) == [
        "memory.swappiness=0",
        "memory.oom_control=1",
        "cpu.rt_period_us=9",
        "cpu.rt_runtime_us=8",
        "net_cls.classid=1",
        "net_prio.ifpriomap=eth0 2",
    ]


def test_every_limit_goes_into_its_file_of_version_2() -> None:
    resources = EVERYTHING | {"unified": {"memory.high": "5", "cgroup.max.depth": "1"}}
    assert written(2, "memory cpu cpuset pids io hugetlb rdma", resources) == [
        "memory.max=4096",
        "memory.swap.max=4096",
        "memory.low=max",
        "pids.max=max",
        "cpu.max=500 1000",
        "cpu.max.burst=7",
        "cpu.weight=1",
        "cpu.idle=1",
        "cpuset.cpus=0-1",
        "io.weight=default 10000",
        "io.weight=8:1 1",
        "io.max=8:0 rbps=5",
        "io.max=9:0 rbps=max",
        "io.max=8:0 wiops=6",
        "rdma.max=mlx hca_handle=3 hca_object=4",
        "hugetlb.2MB.rsvd.max=0",
        "hugetlb.2MB.max=0",
        "memory.high=5",
        "cgroup.max.depth=1",
    ]


@pytest.mark.parametrize("section", ONLY_V1)
def test_what_only_version_1_has_is_refused_on_version_2(section: str) -> None:
    with pytest.raises(StartError, match=rf"limit {section}\.\w+: no mounted .* with the file [a-z_.]+ \(version 1\)"):
        written(2, "memory cpu net_cls net_prio", {section: ONLY_V1[section]})
    assert written(2, "memory", {"memory": {"disableOOMKiller": False}}) == []


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        ({"memory": {"swap": 5}}, r"memory\.swap: needs memory\.limit"),
        ({"memory": {"limit": 5, "swap": 4}}, r"memory\.swap: below memory\.limit"),
        ({"blockIO": {"weightDevice": [{"major": 1}]}}, r"blockIO\.weightDevice\[0\]: needs major, minor, weight"),
        ({"blockIO": {"throttleReadBpsDevice": [{}]}}, r"throttleReadBpsDevice\[0\]: needs major, minor, rate"),
        ({"hugepageLimits": [{"limit": 1}]}, r"hugepageLimits\[0\]: needs pageSize and limit"),
        ({"unified": {"../memory.high": "1"}}, "unified: '../memory.high' is not the name of one file"),
        ({"unified": {"cgroup.procs": "0"}}, "unified: cgroup.procs moves, stops or ends processes"),
    ],
)
def test_limits_that_make_no_sense_are_refused(resources: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        written(2, "memory io hugetlb", resources)


PTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts"}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}
BOUND = {"destination": "/dev/pts", "type": "bind", "source": "/dev/pts", "options": ["bind"]}


@pytest.mark.parametrize("mounts", [[], [DEV], [PTS], [PTS, DEV], [DEV, PTS, BOUND]])
def test_a_terminal_needs_a_devpts_of_the_containers_own(mounts: list[dict[str, Any]]) -> None:
    config = example(0, 0)
    config["process"]["terminal"] = True
    config["mounts"] = mounts
    with pytest.raises(
        ConfigError, match=r"^config\.json: process\.terminal: needs mounts of .* a devpts at /dev/pts$"
    ):
        plan(config, Host("isoproof-1", "/r"))


def test_a_size_is_whole_where_there_is_a_terminal() -> None:
    config = example(0, 0)
    config["process"] |= {"terminal": True, "consoleSize": {"height": 25}}
    with pytest.raises(ConfigError, match=r"process\.consoleSize\.width: missing"):
        plan(config, Host("isoproof-1", "/r"))
    config["process"]["terminal"] = False
    assert "terminal" not in names(plan(config, Host("isoproof-1", "/r")))


def test_the_terminal_is_made_after_dev_and_before_the_privileges_go() -> None:
    config = example(0, 0)
    config["process"]["terminal"] = True
    steps = names(plan(config, Host("isoproof-1", "/r")))
    some = ("session", "mount:/dev/pts", "devices", "terminal", "console", "meet:terminal", "controlling-terminal")
    assert in_order(steps, *some, "enter-dev", "user", "descriptors")


def test_permissions_are_shown_in_octal() -> None:
    calls = [Call("mkdirat", (AT_FDCWD, "/a", 0o755)), Call("umask", (0,)), Call("lseek", (3, 493, 0))]
    assert [*map(str, calls)] == ['mkdirat(AT_FDCWD, "/a", 0755)', "umask(0000)", "lseek(3, 493, 0)"]
