"""The plan, without privileges: what is in it, in which order, and how it reads."""

import re
from typing import Any

import pytest

from harness.runtime.errors import ConfigError, StartError
from harness.runtime.plan import explain, plan
from harness.runtime.spec import example
from harness.runtime.step import Hierarchy, Host, Plan
from harness.runtime.syscalls import CLONE, MS

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
    assert steps[-2:] == ["working-directory", "execute"]


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
    with pytest.raises(StartError, match="limit memory.limit: no mounted cgroup hierarchy has the controller memory"):
        made(hierarchies=(V1,), resources={"memory": {"limit": 4096}})


def test_a_container_without_limits_touches_no_cgroup() -> None:
    wanted = made(hierarchies=(V1, V2))
    assert (wanted.before, wanted.into) == ((), "")


def test_an_ordinary_users_maps_are_written_while_the_child_waits() -> None:
    wanted = made(uid=1000)
    assert [step.name for step in wanted.between] == ["deny-setgroups", "gid-map", "uid-map"]
    assert names(wanted)[:3] == ["wait-for-maps", "reset-memory", "mapped-ids"]
    assert "setgroups" not in " ".join(calls(wanted, "user"))


def test_devices_are_made_by_root_and_bound_in_a_user_namespace() -> None:
    assert 'mknodat($dev, "null", 8630, 259)' in calls(made(), "devices")
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
    assert in_order(names(wanted), "reset-scheduling", "io-priority", "scheduler", "user", "session-keyring")
    assert calls(wanted, "scheduler") == ["sched_setattr(0, {policy=SCHED_FIFO, priority=3, flags=0x0}, 0)"]
    assert calls(wanted, "io-priority") == ["ioprio_set(1, 0, 24576)"]


def test_a_sysctl_of_the_whole_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vm\.swappiness: belongs to no namespace"):
        made(sysctl={"vm.swappiness": "1"})
    with pytest.raises(ConfigError, match="needs a namespace of type ipc"):
        made(sysctl={"kernel.sem": "1"}, namespaces=[{"type": "mount"}, {"type": "uts"}])
    with pytest.raises(ConfigError, match="not the name and value of one kernel parameter"):
        made(sysctl={"net.ipv4/../../../kernel/core_pattern": "|/bin/x"})
    assert calls(made(sysctl={"net.ipv4.ip_forward": "1"}), "sysctl")[0].startswith(
        'openat(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward"'
    )


def test_a_plan_reads_like_strace() -> None:
    text = explain(made())
    assert "pivot-root: swaps the roots" in text
    assert '    mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)' in text
    assert "# clone3(CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWPID|CLONE_NEWNET)" in text
    assert all(f"{step.name}: {step.why}" in text for step in made().steps)


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
