"""The config to begin with, as `isoproof spec` writes it into a new bundle."""

import functools
from pathlib import Path

from harness.runtime.config import Config
from harness.runtime.privileges import DEFAULT_PATH, SETS

NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")
CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

# What the runtimes of today mask and protect (moby, containerd), because it tells about or changes the whole machine.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
CPUS = "/sys/devices/system/cpu"
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def example(uid: int, gid: int) -> Config:
    """Return the config of an ordinary container for this user: every namespace, few capabilities, nothing to write to.

    An ordinary user's has a user namespace too, in which root is that user.
    """
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    config: Config = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "cell",
        "process": {
            "args": ["sh"],
            "cwd": "/",
            "env": [f"PATH={DEFAULT_PATH}"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {kind: list(CAPABILITIES) for kind in SETS[:3]},
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
        },
        "mounts": [
            _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", *devpts, *(["gid=5"] if uid == 0 else [])),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": name} for name in NAMESPACES],
            "maskedPaths": [*MASKED, *_throttles(CPUS)],
            "readonlyPaths": list(READONLY),
        },
    }
    if uid != 0:
        linux = config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    return config


def _mount(destination: str, kind: str, source: str, *options: str) -> Config:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


@functools.cache
def _throttles(processors: str) -> tuple[str, ...]:
    """Return where each processor of this machine tells how hot it is, and so what the neighbours do, if it does.

    It is read once in a process: the search takes longer than all else of a config, which is made for every check.
    """
    return tuple(sorted(map(str, Path(processors).glob("*/thermal_throttle"))))
