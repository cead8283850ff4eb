"""Reads, on the host, a container's cgroups and what the kernel counted in them."""

from __future__ import annotations

import os
import struct

import _kernel

# bpf(2)
BPF_PROG_QUERY = 16
BPF_CGROUP_DEVICE = 6
BPF_F_QUERY_EFFECTIVE = 1

COUNTERS = {
    # what we call it: (file and key on cgroup v1, file and key on v2); a file without a key holds one number
    "memory": {
        "oom_kill": ("memory.oom_control oom_kill", "memory.events oom_kill"),
        "usage": ("memory.usage_in_bytes", "memory.current"),
        "limit": ("memory.limit_in_bytes", "memory.max"),
    },
    "pids": {
        "refused": ("pids.events max", "pids.events max"),
        "usage": ("pids.current", "pids.current"),
        "limit": ("pids.max", "pids.max"),
    },
    "cpu": {
        "periods": ("cpu.stat nr_periods", "cpu.stat nr_periods"),
        "throttled": ("cpu.stat nr_throttled", "cpu.stat nr_throttled"),
    },
}


def observe(pid: int, files: list[str] | None = None) -> dict[str, object]:
    """Report, of the process `pid`, `paths` and `directories`, and the counters of memory, pids and cpu.

    `paths` maps each hierarchy to the cgroup, as /proc/PID/cgroup names it here, and `own` does the same for
    the process that asks; `joined` lists the hierarchies in which the two differ. A number that cannot be
    read is null; a limit may be "max". cgroups(7). `devices` has the `rules` of version 1, as devices.list shows
    them, or on version 2 how many `programs` judge a use of a device, those of the cgroups above included. `files` has
    the text of each of the `files` asked for that is there; the controller is a file's name up to the first dot.
    """
    paths = _paths(f"/proc/{pid}/cgroup")
    own = _paths("/proc/self/cgroup")
    mounts = [mount for mount in _kernel.mountinfo() if mount["type"] in ("cgroup", "cgroup2")]
    facts: dict[str, object] = {
        "paths": paths,
        "own": own,
        "joined": sorted(name for name in paths if paths[name] != own.get(name)),
        "mounted": sorted({name for name in paths for mount in mounts if _holds(mount, name)}),
    }
    for controller, counters in COUNTERS.items():
        version, directory = _directory(controller, paths, mounts)
        facts[controller] = {
            "version": version,
            **{name: _number(directory, files[version == 2]) for name, files in counters.items()},
        }
    facts["devices"] = _devices(*_directory("devices", paths, mounts))
    texts = {file: _kernel.read(f"{_directory(file.split('.')[0], paths, mounts)[1]}/{file}") for file in files or []}
    facts["files"] = {file: text for file, text in texts.items() if isinstance(text, str)}
    return facts


def _devices(version: int, directory: str) -> dict[str, object]:
    rules = _kernel.read_text(f"{directory}/devices.list").splitlines() if version == 1 else []
    return {"version": version, "rules": rules, "programs": _programs(directory) if version == 2 else None}


def _programs(directory: str) -> int | None:
    try:
        cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # union bpf_attr, the struct `query`: the count comes back when no room for the ids is given.
        query = bytearray(struct.pack("=4IQI4x", cgroup, BPF_CGROUP_DEVICE, BPF_F_QUERY_EFFECTIVE, 0, 0, 0))
        _kernel.syscall("bpf", BPF_PROG_QUERY, query, len(query))
        return int(struct.unpack_from("=I", query, 24)[0])
    except OSError:
        return None
    finally:
        os.close(cgroup)


def _paths(file: str) -> dict[str, str]:
    lines = [line.split(":", 2) for line in _kernel.read_text(file).splitlines()]
    return {controllers: path for _, controllers, path in lines}


def _holds(mount: dict[str, object], hierarchy: str) -> bool:
    if hierarchy == "":
        return mount["type"] == "cgroup2"
    options = mount["super_options"]
    assert isinstance(options, list)
    return mount["type"] == "cgroup" and set(hierarchy.split(",")) <= set(options)


def _directory(controller: str, paths: dict[str, str], mounts: list[dict[str, object]]) -> tuple[int, str]:
    """The cgroup version that holds a controller, and the cgroup's directory; (0, "") if it is not mounted."""
    hierarchy = next((name for name in paths if controller in name.split(",")), "")
    for mount in mounts:
        if _holds(mount, hierarchy):
            root, path = str(mount["root"]), paths[hierarchy]
            if root != "/" and f"{path}/".startswith(f"{root}/"):
                path = path[len(root) :]
            return (2 if hierarchy == "" else 1), f"{mount['point']}/{path.lstrip('/')}"
    return 0, ""


def _number(directory: str, file_and_key: str) -> int | str | None:
    file, _, key = file_and_key.partition(" ")
    for line in _kernel.read_text(f"{directory}/{file}").splitlines():
        *name, value = line.split()
        if name == ([key] if key else []):
            return int(value) if value.isdecimal() else value
    return None
