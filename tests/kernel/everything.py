"""Bundles whose start needs every kind of step, in a throwaway host, and what such a start could leave behind there."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.runtime import inspect
from harness.runtime.config import Config, read
from harness.runtime.fields import HOOKS
from harness.runtime.syscalls import MS, invoke
from tests.kernel.bundles import bundle
from tests.kernel.test_namespaces import mapped

PATIENCE = 5.0  # seconds that the kernel gets to end what has lost its parent, and to collect its keys
USER = 700_000  # an id that nobody has, so that the keys which belong to it are the container's
FIRST_ID = 600_000  # of the user namespace; the ids of the machine end before
KINDS = ("joined", "mapped", "rare", "replayed")
LISTENER = "/run/agent"
CABLE = {"name": "eth0", "address": "10.9.8.2/24", "hostName": "cell0", "hostAddress": "10.9.8.1/24"}


def everything(directory: Path, kind: str) -> Config:
    """Make a bundle whose start needs every kind of step that goes together with others.

    `joined` has a namespace that is there already, `mapped` a user namespace, `rare` what has to do with the launcher
    while it runs or does not go with the others, `replayed` nothing that keeps a start from being replayed.
    """
    _, config = bundle(directory, "sh", "-c", "trap '' PIPE; echo .; exec sleep 600")
    config["domainname"] = "example"
    config["process"] |= {
        "user": {"uid": USER - FIRST_ID, "gid": 5, "additionalGids": [7]},
        "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }
    config["annotations"] = {"isoproof.init": "true"}
    volume = directory / "volume"
    volume.mkdir()
    config["mounts"] += [
        {"destination": "/made/on/the/way", "type": "bind", "source": str(volume), "options": ["rbind", "ro"]},
        {"destination": "/made/file", "type": "bind", "source": f"{directory}/config.json", "options": ["bind"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    linux = config["linux"]
    linux |= {
        "cgroupsPath": f"isoproof-test-{secrets.token_hex(4)}/inner",
        "resources": {
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 20},
            "cpu": {"quota": 50_000, "period": 100_000, "shares": 256},
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "rwm"}],
        },
        "personality": {"domain": "LINUX"},
        "rootfsPropagation": "private",
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]},
        "sysctl": {"kernel.shm_rmid_forced": "1"},
        "timeOffsets": {"boottime": {"secs": 5}},
        "devices": [{"type": "p", "path": "/dev/pipe"}],
    }
    linux["namespaces"].append({"type": "time"})
    config["hooks"] = {point: [{"path": "/bin/true"}] for point in HOOKS}
    if kind == "rare":
        rare(directory, config)
    elif kind == "replayed":
        replayed(directory, config)
    elif kind == "mapped":
        mapped(config, (0, FIRST_ID, 200_000))
        for path in [directory / "rootfs", *(directory / "rootfs").rglob("*")]:
            os.chown(path, FIRST_ID, FIRST_ID, follow_symlinks=False)
        volume.chmod(0o755)
        linux["devices"] = []
    else:
        config["process"]["user"]["uid"] = USER
        entries = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
        linux["namespaces"] = [*entries, {"type": "network", "path": "/proc/self/ns/net"}]
    return read(config)


def restrained(directory: Path, config: Config) -> None:
    """Ask for an overlay, a Landlock domain and a memory policy."""
    for name in ("lower", "upper"):
        (directory / name).mkdir()
    rights = ["execute", "read_file", "write_file"]
    config["annotations"] = {}
    config["process"] |= {
        "user": {"uid": USER, "gid": 5},
        "landlock": {
            "ruleset": {"handledAccessFS": rights},
            "rules": {"pathBeneath": [{"paths": ["/"], "allowedAccess": rights}]},
        },
    }
    config["linux"]["memoryPolicy"] = {"mode": "MPOL_LOCAL"}
    layers = [f"lowerdir={directory}/upper:{directory}/lower"]
    config["mounts"].append({"destination": "/layers", "type": "overlay", "source": "overlay", "options": layers})


def replayed(directory: Path, config: Config) -> None:
    """Ask for nothing that the launcher has a hand in while the container starts."""
    restrained(directory, config)
    linux = config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "time"]
    del linux["timeOffsets"], config["hooks"]


def rare(directory: Path, config: Config) -> None:
    """Ask for a terminal, a cable, a listener, an overlay, owners that are mapped, and a Landlock domain."""
    restrained(directory, config)
    config["process"] |= {"terminal": True, "consoleSize": {"height": 24, "width": 80}}
    if inspect.kernel_version() >= (6, 3):  # tmpfs could not be mapped before
        ids = [{"containerID": 0, "hostID": FIRST_ID, "size": 1000}]
        volume = {
            "destination": "/owned",
            "type": "bind",
            "source": f"{directory}/volume",
            "options": ["bind", "idmap"],
        }
        config["mounts"].append(volume | {"uidMappings": ids, "gidMappings": ids})
    config["linux"] |= {
        "veth": [CABLE],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": LISTENER,
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}],
        },
    }


@contextlib.contextmanager
def agent() -> Iterator[None]:
    """Have a process that takes listeners and does nothing with them."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(LISTENER)
        server.listen()
        pid = os.fork()
        while pid == 0:
            with server.accept()[0] as connection:
                while connection.recv(1 << 12):
                    pass
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def snapshot(directory: Path, config: Config) -> dict[str, Any]:
    """Return everything that a container could leave behind on its host."""
    name = config["linux"]["cgroupsPath"].partition("/")[0]
    parents = [hierarchy.parent for hierarchy in inspect.hierarchies(set())]
    processes = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "cgroups": [str(parent) for parent in parents if Path(parent, name).exists()],
        "controllers": [path.read_text() for parent in parents for path in Path(parent).glob("cgroup.subtree_control")],
        "processes": processes,
        "namespaces": sorted({name for pid in processes for name in namespaces_of(pid)}),
        "interfaces": socket.if_nameindex(),
        "keys": [line for line in Path("/proc/keys").read_text().splitlines() if f" {USER} " in line],
        "ipc": [Path("/proc/sysvipc", kind).read_text() for kind in ("msg", "sem", "shm")],
        "shared memory": os.listdir("/dev/shm"),
        "files": sorted(str(path) for path in [*directory.rglob("*"), *Path("/run").rglob("*")]),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "name": os.uname().nodename,
    }


def namespaces_of(pid: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
        return [os.readlink(path) for path in Path("/proc", pid, "ns").iterdir()]
    return []


def settled(directory: Path, config: Config, before: dict[str, Any]) -> list[str]:
    """Return what differs from before, when the kernel has had its time."""
    end = time.monotonic() + PATIENCE
    while True:
        now = snapshot(directory, config)
        changed = [f"{name}: {before[name]} -> {now[name]}" for name in now if now[name] != before[name]]
        if not changed or time.monotonic() > end:
            return changed
        time.sleep(0.02)


@contextlib.contextmanager
def stage(kind: str) -> Iterator[tuple[Path, Config]]:
    """Make the throwaway process a host with file systems of its own, and a bundle in it."""
    for place in (b"/run", b"/dev/shm"):
        invoke("mount", b"tmpfs", place, b"tmpfs", MS.NOSUID, b"mode=755,size=16m")
    directory = Path("/run/bundle")
    directory.mkdir()
    Path("/run/isoproof").mkdir(0o700)
    config = everything(directory, kind)
    try:
        with agent() if kind == "rare" else contextlib.nullcontext():
            yield directory, config
    finally:
        shutil.rmtree(directory)
