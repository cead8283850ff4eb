"""Limits: which field of linux.resources is written into which file of which controller, and how it is said there.

One table for both versions of control groups. A field whose controller no hierarchy has, or whose version knows no such
limit, is refused by name: a limit that is not in force is worse than none. cgroups(7), and the kernel's
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.runtime.config import Config
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.step import Host

Texts = list[str]  # one for each write(2): the kernel takes one device, or one value, at a time
Conversion = Callable[[Any, Config], Texts]


@dataclass(frozen=True, slots=True)
class Write:
    """What the plan writes for one field: the controller, its file (without the cgroup's directory), and the text."""

    controller: str
    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: a field below linux.resources, its file in version 1 and in version 2, and how its value is written.

    The controller is the file's name up to the first dot. A version without such a limit has no file.
    """

    field: str
    v1: str
    v2: str
    v1_texts: Conversion
    v2_texts: Conversion

    def file(self, version: int) -> str:
        """Return the file's name in this version, or nothing."""
        return self.v1 if version == 1 else self.v2

    def texts(self, version: int, value: object, resources: Config) -> Texts:
        """Return what is written, one text for each write(2)."""
        return (self.v1_texts if version == 1 else self.v2_texts)(value, resources)


def weight(shares: int) -> int:
    """Return version 2's cpu.weight (1 to 10000) for version 1's cpu.shares (2 to 262144), linearly as runc does."""
    return 1 + (shares - 2) * 9999 // 262142


def io_weight(value: int) -> int:
    """Return version 2's io.weight (1 to 10000) for version 1's (10 to 1000), linearly as runc does."""
    return 1 + (value - 10) * 9999 // 990


def _plain(value: Any, _resources: Config) -> Texts:
    return [str(int(value))] if isinstance(value, bool) else [str(value)]


def _bound(value: int, _resources: Config) -> Texts:
    """Version 2 says `max` where version 1 says -1."""
    return ["max" if value == -1 else str(value)]


def _tasks(value: int, _resources: Config) -> Texts:
    return [str(value) if value > 0 else "max"]


def _swap_alone(value: int, resources: Config) -> Texts:
    """Version 2 counts swap by itself, version 1 and the config memory and swap together."""
    limit = resources["memory"].get("limit", -1)
    return ["max" if value == -1 or limit == -1 else str(value - limit)]


def _bandwidth(_value: int, resources: Config) -> Texts:
    """Version 2 has quota and period in one file."""
    quota = resources["cpu"].get("quota", -1)
    return [f"{'max' if quota == -1 else quota} {resources['cpu'].get('period', 100_000)}"]


def _period_alone(value: int, resources: Config) -> Texts:
    return [] if "quota" in resources["cpu"] else _bandwidth(value, resources)


def _nodes(value: str, _resources: Config) -> Texts:
    """A list of CPUs or of memory nodes; an empty one is how some tools say that there is none."""
    return [value] if value else []


def _rates(devices: list[Config], _resources: Config) -> Texts:
    return [f"{entry['major']}:{entry['minor']} {entry['rate']}" for entry in devices]


def _rates_by_key(key: str) -> Conversion:
    """Version 2 has all four rates of a device in one file, by key; no limit is `max` there and 0 in version 1."""
    return lambda devices, _resources: [
        f"{entry['major']}:{entry['minor']} {key}={entry['rate'] or 'max'}" for entry in devices
    ]


def _io_weight(value: int, _resources: Config) -> Texts:
    return [f"default {io_weight(value)}"]


def _device_weights(devices: list[Config], _resources: Config) -> Texts:
    return [f"{entry['major']}:{entry['minor']} {entry['weight']}" for entry in devices]


def _device_io_weights(devices: list[Config], _resources: Config) -> Texts:
    return [f"{entry['major']}:{entry['minor']} {io_weight(entry['weight'])}" for entry in devices]


def _priorities(entries: list[Config], _resources: Config) -> Texts:
    return [f"{entry['name']} {entry['priority']}" for entry in entries]


def _rdma(devices: dict[str, Config], _resources: Config) -> Texts:
    keys = {"hca_handle": "hcaHandles", "hca_object": "hcaObjects"}
    return [
        " ".join([name, *(f"{key}={values[field]}" for key, field in keys.items() if field in values)])
        for name, values in devices.items()
    ]


def _same(field: str, v1: str, v2: str, texts: Conversion = _plain) -> Limit:
    return Limit(field, v1, v2, texts, texts)


# In the order in which the kernel accepts them: memory before memory with swap, the period before what is a part of it,
# the weight before idleness, which forbids to set one.
TABLE = (
    Limit("memory.limit", "memory.limit_in_bytes", "memory.max", _plain, _bound),
    Limit("memory.swap", "memory.memsw.limit_in_bytes", "memory.swap.max", _plain, _swap_alone),
    Limit("memory.reservation", "memory.soft_limit_in_bytes", "memory.low", _plain, _bound),
    _same("memory.swappiness", "memory.swappiness", ""),
    _same("memory.disableOOMKiller", "memory.oom_control", ""),
    _same("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", ""),
    _same("pids.limit", "pids.max", "pids.max", _tasks),
    Limit("cpu.period", "cpu.cfs_period_us", "cpu.max", _plain, _period_alone),
    Limit("cpu.quota", "cpu.cfs_quota_us", "cpu.max", _plain, _bandwidth),
    _same("cpu.burst", "cpu.cfs_burst_us", "cpu.max.burst"),
    _same("cpu.realtimePeriod", "cpu.rt_period_us", ""),
    _same("cpu.realtimeRuntime", "cpu.rt_runtime_us", ""),
    Limit("cpu.shares", "cpu.shares", "cpu.weight", _plain, lambda value, _resources: [str(weight(value))]),
    _same("cpu.idle", "cpu.idle", "cpu.idle"),
    _same("cpu.cpus", "cpuset.cpus", "cpuset.cpus", _nodes),
    _same("cpu.mems", "cpuset.mems", "cpuset.mems", _nodes),
    Limit("blockIO.weight", "blkio.bfq.weight", "io.weight", _plain, _io_weight),
    Limit("blockIO.weightDevice", "blkio.bfq.weight_device", "io.weight", _device_weights, _device_io_weights),
    Limit("blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", "io.max", _rates, _rates_by_key("rbps")),
    Limit("blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "io.max", _rates, _rates_by_key("wbps")),
    Limit(
        "blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "io.max", _rates, _rates_by_key("riops")
    ),
    Limit(
        "blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "io.max", _rates, _rates_by_key("wiops")
    ),
    _same("rdma", "rdma.max", "rdma.max", _rdma),
    _same("network.classID", "net_cls.classid", ""),
    _same("network.priorities", "net_prio.ifpriomap", "", _priorities),
)


def rows(resources: Config) -> Iterator[tuple[Limit, object]]:
    """Yield the rows that a config asks for, each with its value, in the order in which they are written."""
    for limit in TABLE:
        value: Any = resources
        for part in limit.field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None and value != [] and value != {} and value != "":
            yield limit, value
    for entry in resources.get("hugepageLimits", []):
        # Reservations are refused at mmap(2), which a program can handle; faults beyond the limit are a SIGBUS.
        for kind in (".rsvd", ""):
            stem = f"hugetlb.{entry.get('pageSize')}{kind}"
            yield _same("hugepageLimits", f"{stem}.limit_in_bytes", f"{stem}.max"), entry.get("limit")
    for file, text in resources.get("unified", {}).items():  # last, for it is meant literally
        yield _same(f"unified.{file}", "", file), text


def controllers(config: Config, version: int) -> set[str]:
    """Return the controllers that the config asks for; an empty object asks for one and limits nothing."""
    resources = config.get("linux", {}).get("resources", {})
    files = [limit.file(version) for limit, _value in rows(resources)]
    named = {controller(file) for file in files if file} - {"cgroup"}  # the core's files are in every cgroup
    return named | _only_counted(resources)


def _only_counted(resources: Config) -> set[str]:
    return {name for name in ("memory", "pids", "cpu") if resources.get(name) == {}}


def controller(file: str) -> str:
    """Return the controller to which a file belongs: `memory` for `memory.swap.max`."""
    return file.partition(".")[0]


def writes(config: Config, version: int, present: frozenset[str]) -> list[Write]:
    """Return what is written for the limits whose controllers are present in a hierarchy of this version."""
    resources = config.get("linux", {}).get("resources", {})
    return [
        Write(controller(limit.file(version)), limit.file(version), text)
        for limit, value in rows(resources)
        if controller(limit.file(version)) in present | ({"cgroup"} if version == 2 else set())
        for text in limit.texts(version, value, resources)
    ]


def check(config: Config, host: Host) -> None:
    """Raise ConfigError where limits do not fit together, StartError where this host has no file for one of them."""
    resources = config.get("linux", {}).get("resources", {})
    _demand(resources)
    for limit, value in rows(resources):
        homes = [(1, limit.v1)] * bool(limit.v1) + [(2, limit.v2)] * bool(limit.v2)
        if value is False and not limit.v2:
            continue  # where nothing can disable it, it is not disabled
        if not any(
            hierarchy.version == version and controller(file) in hierarchy.controllers | {"cgroup"}
            for hierarchy in host.hierarchies
            for version, file in homes
        ):
            files = " or ".join(f"{file} (version {version})" for version, file in homes)
            names = " or ".join(dict.fromkeys(controller(file) for _version, file in homes))
            raise StartError(
                f"limit {limit.field}: no mounted cgroup hierarchy has the controller {names} with the file {files}; "
                "see /proc/self/mountinfo"
            )
    for name in sorted(_only_counted(resources)):
        if not any(name in hierarchy.controllers for hierarchy in host.hierarchies):
            raise StartError(
                f"limit {name}: no mounted cgroup hierarchy has the controller {name}; see /proc/self/mountinfo"
            )


def _demand(resources: Config) -> None:
    """Hold the limits to what no single field can say."""
    at = "config.json: linux.resources"
    memory = resources.get("memory", {})
    limit, swap = memory.get("limit", -1), memory.get("swap", -1)
    if swap != -1 and limit == -1:
        raise ConfigError(f"{at}.memory.swap: needs memory.limit; it counts memory and swap together")
    if swap != -1 and swap < limit:
        raise ConfigError(f"{at}.memory.swap: below memory.limit; it counts memory and swap together")
    block = resources.get("blockIO", {})
    for name, keys in (
        ("weightDevice", {"major", "minor", "weight"}),
        *((limit.field.partition(".")[2], {"major", "minor", "rate"}) for limit in TABLE if "throttle" in limit.field),
    ):
        for index, entry in enumerate(block.get(name, [])):
            if set(entry) != keys:
                raise ConfigError(f"{at}.blockIO.{name}[{index}]: needs {', '.join(sorted(keys))}")
    for index, entry in enumerate(resources.get("hugepageLimits", [])):
        if set(entry) != {"pageSize", "limit"}:
            raise ConfigError(f"{at}.hugepageLimits[{index}]: needs pageSize and limit")
    for index, entry in enumerate(resources.get("network", {}).get("priorities", [])):
        if set(entry) != {"name", "priority"}:
            raise ConfigError(f"{at}.network.priorities[{index}]: needs name and priority")
    for file in resources.get("unified", {}):
        if not re.fullmatch(r"[a-z_0-9]+(\.[A-Za-z_0-9]+)+", file):
            raise ConfigError(f"{at}.unified: {file!r} is not the name of one file, as memory.high is")
        if controller(file) == "cgroup" and not file.startswith("cgroup.max."):
            raise ConfigError(f"{at}.unified: {file} moves, stops or ends processes, and limits nothing")
