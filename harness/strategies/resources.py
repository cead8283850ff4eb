"""Random limits of control groups, such that the interpreter of the probes can live within them."""

import functools
import os
from pathlib import Path

from hypothesis import strategies as st

from harness.runtime.config import Config
from harness.strategies.values import Strategy
from harness.strategies.world import Rule, World

MEBIBYTE = 1 << 20
LEAST_MEMORY = 64  # mebibytes: the interpreter, its kit, and the page tables of a few children
LEAST_TASKS = 32


@functools.cache
def _of_version_1() -> frozenset[str]:
    """Return the controllers that version 1 has here, whose files for them version 2 knows in part only."""
    lines = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return frozenset(name for _number, names, *_path in lines for name in names.split(","))


@st.composite
def _memory(draw: st.DrawFn, _world: World) -> Config:
    bytes_ = st.integers(LEAST_MEMORY, 1 << 20).map(lambda count: count * MEBIBYTE)
    limit = draw(st.just(-1) | bytes_ | bytes_.map(lambda count: count + 1))
    found: Config = {"limit": limit}
    if draw(st.booleans()):
        found["swap"] = -1 if limit == -1 else limit + draw(st.integers(0, 1024)) * MEBIBYTE
    optional = {
        "reservation": st.just(-1) | st.integers(0, 1 << 40),
        "checkBeforeUpdate": st.booleans(),
        "useHierarchy": st.just(True),
    }
    if "memory" in _of_version_1():
        optional |= {
            "swappiness": st.integers(0, 200),
            "disableOOMKiller": st.booleans(),
            "kernelTCP": st.just(-1) | st.integers(0, 1 << 40),
        }
    more: Config = draw(st.fixed_dictionaries({}, optional=optional))
    return found | more


@st.composite
def _cpu(draw: st.DrawFn, _world: World) -> Config:
    """Draw at least half a CPU in each period, and of realtime nothing, for nobody around may have any to give.

    Nor is a cgroup idle: it would wait for whatever else runs on the machine.
    """
    cpus = sorted(os.sched_getaffinity(0))
    optional: dict[str, Strategy] = {
        "shares": st.integers(2, 262_144),
        "cpus": st.sampled_from(["", f"{cpus[0]}", f"{cpus[-1]}", ",".join(map(str, cpus))]),
        "mems": st.sampled_from(["", "0", "0-0"]),
        "idle": st.just(0),
    }
    if "cpu" in _of_version_1():
        optional |= {"realtimePeriod": st.integers(1000, 1_000_000), "realtimeRuntime": st.just(0)}
    found: Config = draw(st.fixed_dictionaries({}, optional=optional))
    if draw(st.booleans()):
        period = draw(st.integers(2000, 1_000_000))
        found |= {"period": period, "quota": draw(st.just(-1) | st.integers(period // 2, 2 * period))}
        if found["quota"] > 0 and draw(st.booleans()):
            found["burst"] = draw(st.integers(0, found["quota"]))
    return found


@st.composite
def _devices(draw: st.DrawFn, _world: World) -> list[Config]:
    """Draw rules: about all devices and about some."""
    everything = st.fixed_dictionaries({"allow": st.booleans()}, optional={"access": st.just("rwm")})
    some = st.fixed_dictionaries(
        {
            "allow": st.booleans(),
            "type": st.sampled_from("cb"),
            "major": st.integers(-1, 12),
            "minor": st.integers(-1, 12),
            "access": st.sampled_from(["r", "rw", "rwm"]),
        }
    )
    return [draw(everything), *draw(st.lists(some, max_size=2))]


@st.composite
def _throttles(draw: st.DrawFn, _world: World) -> Config:
    """Draw rates of a disk that this machine has."""
    disks = [line.split()[:2] for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    found: Config = {}
    for what in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS") if disks else ():
        if draw(st.booleans()):
            major, minor = map(int, draw(st.sampled_from(disks)))
            found[f"throttle{what}Device"] = [{"major": major, "minor": minor, "rate": draw(st.integers(0, 2**31))}]
    return found


RULES: dict[str, Rule] = {
    "linux.resources.memory": _memory,
    "linux.resources.cpu": _cpu,
    "linux.resources.devices": _devices,
    "linux.resources.blockIO": _throttles,
    "linux.resources.hugepageLimits": lambda _world: st.just([{"pageSize": "2MB", "limit": 0}]),
    "linux.resources.network": lambda _world: st.fixed_dictionaries(
        {"classID": st.integers(0, 2**32 - 1), "priorities": st.just([{"name": "lo", "priority": 1}])}
    ),
    "linux.resources.pids": lambda _world: st.fixed_dictionaries(
        {"limit": st.sampled_from([-1, 0]) | st.integers(LEAST_TASKS, 2**22)}
    ),
    # Of the core, whose files are in every cgroup of version 2.
    "linux.resources.unified": lambda _world: st.dictionaries(
        st.sampled_from(["cgroup.max.depth", "cgroup.max.descendants"]), st.sampled_from(["max", "0", "5"])
    ),
    "linux.cgroupsPath": lambda _world: st.sampled_from(["isoproof-random", "isoproof-random/a", "/isoproof-random"]),
}
