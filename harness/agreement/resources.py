"""Claims of control groups: what stands in their files, in the words of version 1 and of version 2. cgroups(7)

What a file must say is written down here once more, and not taken from the runtime's own table, which is under test.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from harness.agreement.claim import Claim, Facts
from harness.runtime.config import Config

PAGE = os.sysconf("SC_PAGESIZE")
UNLIMITED = (2**63 - 1) // PAGE * PAGE  # what version 1 shows where nothing is limited: PAGE_COUNTER_MAX, in bytes


class File(NamedTuple):
    """A field below linux.resources, its file in each version, and what that must say; nothing where there is none."""

    field: str
    v1: str
    v1_text: Callable[[Any, Config], str]
    v2: str
    v2_text: Callable[[Any, Config], str]


def _plain(value: Any, _resources: Config) -> str:
    return str(int(value))


def _bytes(value: int, _resources: Config) -> str:
    return str(UNLIMITED if value == -1 else min(value // PAGE * PAGE, UNLIMITED))


def _bytes_or_max(value: int, _resources: Config) -> str:
    return "max" if value == -1 else str(value // PAGE * PAGE)


def _swap_alone(value: int, resources: Config) -> str:
    return "max" if value == -1 else str((value - resources["memory"]["limit"]) // PAGE * PAGE)


def _tasks(value: int, _resources: Config) -> str:
    return str(value) if value > 0 else "max"


def _bandwidth(_value: int, resources: Config) -> str:
    cpu = resources["cpu"]
    return f"{'max' if cpu.get('quota', -1) == -1 else cpu['quota']} {cpu.get('period', 100_000)}"


def _weight(value: int, _resources: Config) -> str:
    return str(1 + (value - 2) * 9999 // 262142)


def _list(value: str, _resources: Config) -> str:
    """Return a list of numbers as the kernel writes it: each number once, in order."""
    numbers: set[int] = set()
    for part in filter(None, value.split(",")):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    ordered = sorted(numbers)
    begins = [number for number in ordered if number - 1 not in numbers]
    ends = [number for number in ordered if number + 1 not in numbers]
    return ",".join(f"{begin}" if begin == end else f"{begin}-{end}" for begin, end in zip(begins, ends, strict=True))


def _rates(devices: list[Config], _resources: Config) -> str:
    return "\n".join(f"{entry['major']}:{entry['minor']} {entry['rate']}" for entry in devices if entry["rate"])


def _same(name: str, file: str, text: Callable[[Any, Config], str] = _plain) -> File:
    return File(name, file, text, file, text)


def _first_only(name: str, file: str, text: Callable[[Any, Config], str] = _plain) -> File:
    return File(name, file, text, "", text)


FILES = (
    File("memory.limit", "memory.limit_in_bytes", _bytes, "memory.max", _bytes_or_max),
    File("memory.swap", "memory.memsw.limit_in_bytes", _bytes, "memory.swap.max", _swap_alone),
    File("memory.reservation", "memory.soft_limit_in_bytes", _bytes, "memory.low", _bytes_or_max),
    _first_only("memory.swappiness", "memory.swappiness"),
    _first_only("memory.disableOOMKiller", "memory.oom_control", lambda value, _: f"oom_kill_disable {int(value)}"),
    _first_only("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", _bytes),
    _same("pids.limit", "pids.max", _tasks),
    File("cpu.shares", "cpu.shares", _plain, "cpu.weight", _weight),
    File("cpu.quota", "cpu.cfs_quota_us", _plain, "cpu.max", _bandwidth),
    File("cpu.period", "cpu.cfs_period_us", _plain, "cpu.max", _bandwidth),
    File("cpu.burst", "cpu.cfs_burst_us", _plain, "cpu.max.burst", _plain),
    _first_only("cpu.realtimePeriod", "cpu.rt_period_us"),
    _first_only("cpu.realtimeRuntime", "cpu.rt_runtime_us"),
    _same("cpu.idle", "cpu.idle"),
    _same("cpu.cpus", "cpuset.cpus", _list),
    _same("cpu.mems", "cpuset.mems", _list),
    _first_only("blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", _rates),
    _first_only("blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", _rates),
    _first_only("blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", _rates),
    _first_only("blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", _rates),
)


def observations(config: Config) -> Facts:
    """Return the observations that these claims need inside: the host looks at the cgroups meanwhile.

    Not where there is a terminal: it would show what is sent to a probe that waits, among what the probe says.
    """
    return {"stay": {"probe": "wait"}} if _looked_at(config) else {}


def host_observations(config: Config) -> Facts:
    """Return those that they need on the host."""
    if not _looked_at(config):
        return {}
    files = sorted(
        {file for entry in FILES for file in (entry.v1, entry.v2) if file} | set(_resources(config).get("unified", {}))
    )
    return {"cgroup": {"probe": "cgroup_state", "args": {"pid": "container.pid", "files": files}, "during": "stay"}}


def _resources(config: Config) -> Config:
    found: Config = config["linux"].get("resources", {})
    return found


def _looked_at(config: Config) -> bool:
    return bool(_resources(config) or "cgroupsPath" in config["linux"]) and not config["process"].get("terminal")


def _value(entry: File, config: Config) -> Any:
    """Return what a config says; an empty list is how some tools say that there is none."""
    found: Any = _resources(config)
    for part in entry.field.split("."):
        found = found.get(part) if found else None
    return None if found in ("", []) else found


def _limits(config: Config) -> Facts:
    """Return by field what must be in force; what is false cannot be, where nothing would make it true."""
    found = {entry.field: _value(entry, config) for entry in FILES}
    return {field: value for field, value in found.items() if value is not None} if _looked_at(config) else {}


def _limits_seen(facts: Facts, config: Config) -> Facts:
    """Return the limits whose file says so; of another one what its file says."""
    state = facts["host.cgroup"]["files"] if _looked_at(config) else {}
    found: Facts = {}
    for entry in FILES:
        value = _value(entry, config)
        if value is None or entry.field not in _limits(config):
            continue
        texts = {entry.v1: entry.v1_text(value, _resources(config)), entry.v2: entry.v2_text(value, _resources(config))}
        there = {file: text for file, text in texts.items() if file in state}
        found[entry.field] = (
            value if any(_says(state[file], text) for file, text in there.items()) else {f: state[f] for f in there}
        )
    return found


def _says(content: str, text: str) -> bool:
    """Return whether a file says what it must: it has that line among others, or is it."""
    return text == content.strip() or text in content.splitlines()


def _unified(config: Config) -> Facts:
    found: Facts = _resources(config).get("unified", {}) if _looked_at(config) else {}
    return found


def _unified_seen(facts: Facts, config: Config) -> Facts:
    return {file: facts["host.cgroup"]["files"].get(file, "").strip() for file in _unified(config)}


def _path(config: Config) -> str:
    """Return the last part of the cgroup's path; what is above it depends on who starts the container."""
    path: str = config["linux"].get("cgroupsPath", "")
    return path.rpartition("/")[2] if _looked_at(config) else ""


def _path_seen(facts: Facts, config: Config) -> str:
    if not _path(config):
        return ""
    names = {path.rpartition("/")[2] for path in facts["host.cgroup"]["paths"].values()}
    return names.pop() if len(names) == 1 else ", ".join(sorted(names))


CLAIMS = (
    Claim("linux.resources", _limits, _limits_seen),
    Claim("linux.resources.unified.*", _unified, _unified_seen),
    Claim("linux.cgroupsPath", _path, _path_seen),
)
