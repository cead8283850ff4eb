"""The replay executor against the one that forks: the same outcome, inside and for the launcher."""

import contextlib
import errno
import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings

from harness.runtime import inspect, stub
from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.launch import Prepared, prepared, run
from harness.runtime.step import Call, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, PR, O, invoke, libc
from tests.kernel.bundles import bundle, output_of, snapshot
from tests.kernel.everything import stage
from tests.kernel.test_launch import failing_at
from tests.kernel.throwaway import in_throwaway
from tests.property.test_plan import configs

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

# What a program can tell about itself and its world, as far as it is the same from start to start.
LOOK = """
cd /proc/self
for file in status limits cgroup environ cmdline oom_score_adj coredump_filter personality timerslack_ns \
    loginuid sessionid uid_map gid_map setgroups timens_offsets mountinfo attr/current; do
    echo "== $file"; cat $file 2>&1
done
set -- $(sed 's/.*) //' stat); echo == stat $2 $3 $4 $5 $6 $7 priority ${16} nice ${17} threads ${18} policy ${38} ${39}
echo == fds; for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do readlink fd/$fd; done; set -- fd/*; echo $#
echo == links; readlink cwd root exe
echo == namespaces; for name in cgroup ipc mnt net pid time user uts; do readlink ns/$name; done
echo == names; hostname; cat /proc/sys/kernel/domainname
echo == tree; ls -lan / /dev /dev/shm /sys/fs 2>&1; umask; id; ulimit -a
echo == masked; for path in /proc/*; do [ -f "$path" ] && [ ! -s "$path" ] && echo "$path"; done
cat /sys/class/net/lo/flags /proc/keys
"""
# What differs from start to start: lines about numbers of processes, sizes and times, and any longer number elsewhere.
PASSING = re.compile(
    r"^(?:State|Pid|Tgid|NStgid|NSpid|NSpgid|NSsid|Vm\w+|Rss\w+|\w*ctxt_switches|SigQ|x86_Thread\w+|HugetlbPages):.*$"
    r"|^(?!Sig|Shd|Cap|Cpus|Mems|Speculation)(.*)$",
    re.MULTILINE,
)
NUMBER = re.compile(r"[0-9a-f]{8,}|\d{2,}")


def lasting(text: str) -> str:
    """Return what is the same from start to start."""
    passing = PASSING.sub(lambda found: NUMBER.sub("#", found[1] or ""), text)
    return re.sub(" +", " ", passing)  # columns are as wide as their longest number


def is_replayed(directory: Path, config: Config, alter: Callable[[Plan], Plan] | None = None) -> bool:
    with prepared(read(config), directory, alter) as container:
        return container.child is not None


def alone(made: Plan) -> Plan:
    return replace(made, replay=False)


def told(directory: Path, config: Config) -> list[tuple[int, list[str]]]:
    """Return what a program finds, when it was started by the one executor and by the other."""
    told = []
    for alter in (None, alone):
        status, text = output_of(directory, read(config), alter=alter)
        namespaces = set(re.findall(r"\b(\w+:\[\d+\])", text))
        own = {os.readlink(path) for path in Path("/proc/self/ns").iterdir()}
        told.append((status, [*lasting(text).splitlines(), f"the launcher's: {sorted(namespaces & own)}"]))
    return told


def looking(directory: Path, **changes: Any) -> tuple[Path, Config]:
    made, config = bundle(directory, "sh", "-c", LOOK, **changes)
    for name in ("readlink", "sed", "wc", "hostname", "umask", "stat"):
        (made / "rootfs/bin" / name).unlink(missing_ok=True)
        (made / "rootfs/bin" / name).symlink_to("busybox")
    return made, config


def test_the_program_finds_the_same_world(tmp_path: Path) -> None:
    directory, config = looking(tmp_path)
    config["process"] |= {"oomScoreAdj": 100, "user": {"uid": 1000, "gid": 5, "additionalGids": [7], "umask": 0o27}}
    config["linux"]["resources"] = {"pids": {"limit": 20}, "memory": {"limit": 1 << 26}}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    assert is_replayed(directory, config)
    assert not is_replayed(directory, config, alone)
    replayed, forked = told(directory, config)
    assert replayed == forked
    assert len(forked[1]) > 200


@given(configs())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_config_the_outcome_is_the_same(tmp_path: Path, wanted: tuple[int, Config]) -> None:
    config = wanted[1]
    directory = tmp_path if (tmp_path / "rootfs").exists() else looking(tmp_path)[0]
    config["process"]["args"] = ["sh", "-c", LOOK]
    outcomes = []
    for alter in (None, alone):
        try:
            outcomes.append(told_once(directory, config, alter))
        except StartError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def told_once(directory: Path, config: Config, alter: Callable[[Plan], Plan] | None) -> str:
    status, text = output_of(directory, config, alter=alter)
    return f"{status}\n{lasting(text)}"


def test_whatever_step_fails_it_is_told_in_the_same_words(tmp_path: Path) -> None:
    def play() -> list[str]:
        different = []
        with stage("replayed") as (directory, config):
            with prepared(config, directory) as container:
                steps = container.plan.steps
            for index, step in enumerate(steps):
                said = [words(directory, config, index, alter) for alter in (None, alone)]
                if len(set(said)) != 1 or not said[0].startswith(f"{step.name.partition(':')[0]}"):
                    different.append(f"{step.name}: {said}")
        return different

    assert in_throwaway(play) == []


def words(directory: Path, config: Config, index: int, alter: Callable[[Plan], Plan] | None) -> str:
    def broken(made: Plan) -> Plan:
        return failing_at(alter(made) if alter else made, "steps", index)

    null = os.open("/dev/null", os.O_RDWR)
    try:
        run(config, directory, (null, null, null), 20.0, alter=broken)
    except StartError as error:
        return str(error)
    finally:
        os.close(null)
    return "it did not fail"


def launcher() -> dict[str, object]:
    """Return what a child that shares this process's memory could change in it."""
    status = Path("/proc/self/status").read_text()
    kept = re.findall(
        r"^(?:Uid|Gid|Groups|Umask|SigPnd|SigBlk|SigIgn|SigCgt|Cap\w+|NoNewPrivs|Seccomp\w*):.*", status, re.MULTILINE
    )
    return {
        "status": kept,
        "dumpable": libc.prctl(PR.GET_DUMPABLE.value, 0, 0, 0, 0),
        "huge pages off": libc.prctl(PR.GET_THP_DISABLE.value, 0, 0, 0, 0),
        "core dump": Path("/proc/self/coredump_filter").read_text(),
        "limits": Path("/proc/self/limits").read_text(),
        "personality": Path("/proc/self/personality").read_text(),
        "directory": os.getcwd(),
        "namespaces": sorted(os.readlink(path) for path in Path("/proc/self/ns").iterdir()),
    }


def test_the_launcher_stays_as_it_was(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/true")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    before, around = launcher(), snapshot()
    assert output_of(directory, read(config)) == (0, "")
    assert launcher() == before
    assert snapshot() == around


@pytest.mark.parametrize("change", ["core dumps", "huge pages"])
def test_a_launcher_whose_memory_has_other_attributes_forks(tmp_path: Path, change: str) -> None:
    directory, config = bundle(tmp_path, "cat", "/proc/self/coredump_filter")

    def play() -> tuple[bool, dict[str, object], tuple[int, str], dict[str, object]]:
        if change == "core dumps":
            Path("/proc/self/coredump_filter").write_text("0x7f")
        else:
            invoke("prctl", PR.SET_THP_DISABLE, 1, 0, 0, 0)
        before = launcher()
        return not is_replayed(directory, config), before, output_of(directory, read(config)), launcher()

    forked, before, outcome, after = in_throwaway(play)
    assert forked
    assert outcome == (0, "00000033\n")
    assert before == after


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["linux"]["namespaces"].remove({"type": "pid"}),
        lambda config: (
            config["linux"]["namespaces"].append({"type": "time"})
            or config["linux"].update(timeOffsets={"boottime": {"secs": 5}})
        ),
        lambda config: config["process"].update(terminal=True),
        lambda config: config.update(annotations={"isoproof.init": "true"}),
        lambda config: config.update(hooks={"startContainer": [{"path": "/bin/true"}]}),
    ],
    ids=["the launcher's PID namespace", "time namespace", "terminal", "init", "hook"],
)
def test_where_it_may_not_be_used_it_is_not(tmp_path: Path, change: Callable[[Config], Any]) -> None:
    directory, config = bundle(tmp_path)
    assert is_replayed(directory, config)
    change(config)
    assert not is_replayed(directory, config)


def test_where_no_code_can_be_made_it_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, config = bundle(tmp_path)

    def denied(name: str, *_arguments: object) -> int:
        raise PermissionError(errno.EACCES, name)

    stub.function.cache_clear()
    monkeypatch.setattr(stub, "invoke", denied)
    try:
        assert not is_replayed(directory, config)
        assert output_of(directory, read(config)) == (0, "")
    finally:
        stub.function.cache_clear()


def test_one_that_was_prepared_may_be_started_again_and_after_a_failure(tmp_path: Path) -> None:
    """What a call has left for later ones is not what it left in the start before."""
    directory, config = bundle(tmp_path / "bundle", "/bin/true")
    there = tmp_path / "there"
    asking = Step(
        "asking",
        "test",
        (
            Call("openat", (AT_FDCWD, str(there), O.CLOEXEC), (errno.ENOENT,), saves="file"),
            Call("dup3", (Saved("file"), 9, 0)),
        ),
    )
    null = os.open("/dev/null", os.O_RDWR)
    before = snapshot()
    with prepared(read(config), directory, lambda made: replace(made, steps=(asking, *made.steps))) as container:
        assert container.child
        for _ in range(3):
            there.write_text("")
            assert container.run((null, null, null), 20.0) == 0
            there.unlink()
            with pytest.raises(StartError, match=r"^asking: dup3\(\$file\S*, 9, 0\): EBADF"):
                container.run((null, null, null), 20.0)
    assert snapshot() == before
    os.close(null)


def test_threads_start_side_by_side(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "exit 7")
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    null = os.open("/dev/null", os.O_RDWR)
    first = threading.Thread(target=os.getpid)  # for which the C library catches a signal of its own
    first.start()
    first.join()
    before, around = launcher(), snapshot()
    statuses: list[int] = []

    def start(container: Prepared) -> None:
        statuses.extend(container.run((null, null, null), 20.0) for _ in range(10))

    with contextlib.ExitStack() as containers:
        several = [containers.enter_context(prepared(read(config), directory)) for _ in range(8)]
        assert all(container.child for container in several)
        threads = [threading.Thread(target=start, args=(container,)) for container in several]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [7] * 80
    assert launcher() == before
    assert snapshot() == around
    os.close(null)


def test_nobody_can_reach_into_the_launcher_through_the_child(tmp_path: Path) -> None:
    """Neither before its ids have changed nor after."""
    directory, config = bundle(tmp_path)
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    # dup3(2) of a descriptor onto itself is EINVAL: so the start fails where PR_GET_DUMPABLE is 0.
    calls = (
        Call("prctl", (PR.GET_DUMPABLE, 0, 0, 0, 0), saves="dumpable"),
        Call("dup3", (Saved("dumpable"), 0, 0)),
    )
    asking = Step("asking", "test", calls)
    for alter in (
        lambda made: replace(made, steps=(asking, *made.steps)),
        lambda made: made.exchange("execute", asking, made.steps[-1]),
    ):
        with pytest.raises(StartError, match=r"asking: dup3.*EINVAL"):
            output_of(directory, read(config), alter=alter)
    assert libc.prctl(PR.GET_DUMPABLE.value, 0, 0, 0, 0) == 1


@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_a_child_that_may_not_even_exit_runs_no_code_of_the_launchers(tmp_path: Path, action: str) -> None:
    directory, config = bundle(tmp_path)
    (directory / "rootfs/bin/none").write_bytes(b"no program")
    (directory / "rootfs/bin/none").chmod(0o755)
    config["process"]["args"] = ["/bin/none"]
    filtered = {"names": ["exit_group", "exit"], "action": action}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [filtered]}
    before = launcher(), snapshot()
    with pytest.raises(StartError, match=r"^execute: .*ENOEXEC"):
        output_of(directory, read(config))
    assert (launcher(), snapshot()) == before


# With the larger one it hangs on what is charged before: execve(2) has E2BIG for an argument's page, else ENOMEM.
@pytest.mark.parametrize(("limit", "number"), [(4096, "ENOMEM"), (65536, "(ENOMEM|E2BIG)")])
def test_a_memory_limit_too_low_for_the_start_is_an_error_and_the_launcher_lives(
    tmp_path: Path, limit: int, number: str, missing: Callable[[str], NoReturn]
) -> None:
    """The launcher's memory is the child's: whoever kills the one for want of memory could kill the other."""
    directory, config = bundle(tmp_path)
    config["linux"]["resources"] = {"memory": {"limit": limit}}
    if not any("memory" in hierarchy.controllers for hierarchy in inspect.hierarchies({"memory"})):
        missing("no memory controller can be had here")
    before = snapshot()
    with pytest.raises(StartError, match=f"{number}.*a memory limit"):
        output_of(directory, read(config))
    assert snapshot() == before
