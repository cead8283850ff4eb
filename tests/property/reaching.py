"""What a container reaches, as a set of words, and single steps by which a config becomes a tighter one.

Reached is what a probe opened, wrote to, saw or did. An attempt also got through where it failed by its arguments, for
that is how probes tell the kernel's own code from what stands before it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from harness.runtime.config import Config
from harness.runtime.privileges import SETS
from harness.strategies.world import held

Facts = dict[str, Any]
Step = Callable[[Config], None]

THROUGH = (None, "EFAULT", "EBADF", "EINVAL")
COVERED = ("/proc/cpuinfo", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/kernel", "/sys/firmware")
TREES = ("/proc/sys", "/etc")
FLAGS = ("ro", "nosuid", "nodev", "noexec", "nosymfollow")
PLACES = ("/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys")  # of mounts of the default config
LIMITS = (64, 128, 256, 512, 1024)  # descriptors
CANARIES = {"bait": {"kind": "process"}, "service": {"kind": "abstract"}, "objects": {"kind": "system-v"}}
OBSERVATIONS: Facts = {
    **{name: {} for name in ("denied_calls", "mount_api", "raw_sockets", "socket_families", "perf_events", "bpf")},
    **{name: {} for name in ("precedence", "kernel_log", "processes", "mount_flags", "attributes", "network")},
    "capable": {"bait": 1},
    "masks": {"paths": COVERED},
    "write_access": {"files": [], "trees": TREES},
    "open_devices": {"paths": ["/dev/null", "/dev/kmsg", "/dev/fuse", "/dev/tty"]},
    "reach": {"name": "canary.service.name", "pid": "canary.bait.pid"},
    "system_v": {"key": "canary.objects.key"},
}


def request(config: Config) -> Facts:
    """Return the request to the host role for a run in which it is seen what a container reaches."""
    inside = {name: {"probe": name, "args": args, "deadline": 20.0} for name, args in OBSERVATIONS.items()}
    return {"runtime": "builtin", "config": config, "canaries": CANARIES, "inside": inside}


def reached(answer: Facts) -> set[str]:
    """Return what was reached; nothing where the start was refused."""
    if not answer["start"]["ran"]:
        return set()
    seen = {name: found["facts"] for name, found in answer["inside"].items() if "facts" in found}
    return {f"{name} {word}" for name, facts in seen.items() for word in READERS.get(name, _attempts)(facts)}


def _attempts(facts: Facts) -> Iterator[str]:
    """Name the attempts that got through, however deep they stand."""
    for name, found in facts.items():
        if isinstance(found, dict) and found.get("errno", "") in THROUGH:
            yield name
        elif isinstance(found, dict):
            yield from (f"{name} {inner}" for inner in _attempts(found))


def _shown(facts: Facts) -> Iterator[str]:
    for path, found in facts["paths"].items():
        if isinstance(found, dict) and (found.get("bytes") or found.get("entries")):
            yield path


def _flags(facts: Facts) -> Iterator[str]:
    """Name what a mount lets one do. A mask is a mount of its own, and one lets do more than there was before."""
    for place, flags in facts["flags"].items():
        if place in PLACES and isinstance(flags, list):
            yield from (f"{place} without {flag}" for flag in FLAGS if flag not in flags)


READERS: dict[str, Callable[[Facts], Iterable[str]]] = {
    "capable": lambda facts: facts["able"],
    "processes": lambda facts: facts["names"].values(),
    "network": lambda facts: {*facts["names"], *facts["links"]},
    "write_access": lambda facts: facts["writable"],
    "attributes": lambda facts: [str(limit) for limit in LIMITS if facts["rlimits"]["RLIMIT_NOFILE"][0] >= limit],
    "masks": _shown,
    "mount_flags": _flags,
}


def _drop(*names: str) -> Step:
    def tighten(config: Config) -> None:
        sets = config["process"].get("capabilities", {})
        config["process"]["capabilities"] = {
            kind: [name for name in held if name not in (names or held)] for kind, held in sets.items()
        }

    return tighten


def _cover(field: str, path: str) -> Step:
    def tighten(config: Config) -> None:
        config["linux"][field] = [*config["linux"].get(field, []), path]

    return tighten


def _mount(place: str, option: str) -> Step:
    def tighten(config: Config) -> None:
        for mount in config["mounts"]:
            if mount["destination"] == place and "remount" not in mount.get("options", []):
                mount["options"] = [*mount.get("options", []), option]

    return tighten


def _isolate(kind: str) -> Step:
    def tighten(config: Config) -> None:
        others = [entry for entry in config["linux"]["namespaces"] if entry["type"] != kind]
        config["linux"]["namespaces"] = [*others, {"type": kind}]

    return tighten


def _deny(*names: str) -> Step:
    def tighten(config: Config) -> None:
        profile = config["linux"].setdefault("seccomp", {"defaultAction": "SCMP_ACT_ALLOW"})
        rule = {"names": list(names), "action": "SCMP_ACT_ERRNO"}
        profile["syscalls"] = [rule, *profile.get("syscalls", [])]

    return tighten


def _limit_descriptors(config: Config) -> None:
    others = [limit for limit in config["process"].get("rlimits", []) if limit["type"] != "RLIMIT_NOFILE"]
    config["process"]["rlimits"] = [*others, {"type": "RLIMIT_NOFILE", "soft": LIMITS[0], "hard": LIMITS[0]}]


def _set(path: str, value: Any) -> Step:
    def tighten(config: Config) -> None:
        *above, last = path.split(".")
        for word in above:
            config = config.setdefault(word, {})
        config[last] = value

    return tighten


STEPS: dict[str, Step] = {
    "no capabilities": _drop(),
    "no CAP_SYS_ADMIN": _drop("CAP_SYS_ADMIN"),
    "no CAP_NET_RAW": _drop("CAP_NET_RAW"),
    "mask /proc/cpuinfo": _cover("maskedPaths", "/proc/cpuinfo"),
    "mask /sys/kernel": _cover("maskedPaths", "/sys/kernel"),
    "protect /proc/sys": _cover("readonlyPaths", "/proc/sys"),
    "read-only root": _set("root.readonly", True),
    "read-only /dev/mqueue": _mount("/dev/mqueue", "ro"),
    "noexec /dev": _mount("/dev", "noexec"),
    "few descriptors": _limit_descriptors,
    "few processes": _set("linux.resources.pids.limit", 50),
    "no personality": _deny("personality"),
    "no sockets": _deny("socket"),
    "no new privileges": _set("process.noNewPrivileges", True),
    **{f"own {kind}": _isolate(kind) for kind in ("pid", "ipc", "network", "uts", "cgroup")},
}
UNSEEN = {"few processes", "no new privileges", "own uts", "own cgroup"}  # by these probes


def tightened(config: Config, name: str) -> Config:
    """Return a config that is tighter by one step; none where the step was taken already changes it."""
    result = copy.deepcopy(config)
    STEPS[name](result)
    return result


def loose(config: Config) -> Config:
    """Return the default config without what isolates it, but for what nobody can do without."""
    result = copy.deepcopy(config)
    every = list(held())
    result["root"]["readonly"] = False
    result["process"] |= {
        "capabilities": dict.fromkeys(SETS[:3], every),
        "noNewPrivileges": False,
    }
    result["linux"] |= {"namespaces": [{"type": "mount"}], "maskedPaths": [], "readonlyPaths": []}
    del result["hostname"]
    return result
