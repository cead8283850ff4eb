"""Named containers to start from, and the scenario's shorthand for a config."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from harness.runtime.config import Config
from harness.runtime.privileges import SETS
from harness.runtime.profile import profile
from harness.runtime.spec import example

if TYPE_CHECKING:
    from harness.language import Container

KIT = "/isoproof"  # where the probe kit is, in every container
PERIOD = 100_000  # microseconds; what quotas are counted in where the scenario names a share of one CPU


def default(uid: int, gid: int) -> Config:
    """Return the config of an ordinary container with the probe kit in it.

    The strings `container.rootfs` and `container.kit` stand for paths that are known only when it is started.
    """
    config = example(uid, gid)
    config["root"]["path"] = "container.rootfs"
    config["process"]["args"] = ["container.command"]
    config["mounts"].append(_mount(KIT, "bind", "container.kit", "bind", "ro", "nosuid", "nodev"))
    return config


# What Docker leaves to root in a container (moby, oci/caps/defaults.go).
DOCKER = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)


def docker_like(uid: int, gid: int) -> Config:
    """Return the config of a container as Docker starts one by default: more may be done, through a filter."""
    config = default(uid, gid)
    config["root"]["readonly"] = False
    capabilities = [f"CAP_{name}" for name in DOCKER.split()]
    config["process"]["capabilities"] = {kind: list(capabilities) for kind in SETS[:3]}
    config["process"]["noNewPrivileges"] = False
    config["linux"]["seccomp"] = profile(capabilities, platform.machine())
    return config


SHAPES = {"default": default, "docker-like": docker_like}


def config(container: Container, uid: int, gid: int) -> Config:
    """Return the config that a scenario's shorthand stands for.

    `uid` and `gid` are those of the user who runs the harness: an ordinary user's containers have a user namespace.
    """
    result = SHAPES[container.shape or "default"](uid, gid)
    process, linux = result["process"], result["linux"]
    if container.hostname:
        result["hostname"] = container.hostname
    if container.domainname:
        result["domainname"] = container.domainname
    if container.readonly is not None:
        result["root"]["readonly"] = container.readonly
    if container.oom_score_adj is not None:
        process["oomScoreAdj"] = container.oom_score_adj
    for kind in SETS:
        if container.grant:
            granted = process["capabilities"].setdefault(kind, [])
            granted += [f"CAP_{name}" for name in container.grant if f"CAP_{name}" not in granted]
    if container.grant and "seccomp" in linux:
        linux["seccomp"] = profile(process["capabilities"]["bounding"], platform.machine())  # opens what they open
    resources = {
        "memory": {"limit": container.memory} if container.memory else {},
        "pids": {"limit": container.pids} if container.pids else {},
        "cpu": {"quota": int(container.cpu * PERIOD), "period": PERIOD} if container.cpu else {},
    }
    if any(resources.values()):
        linux["resources"] = {name: values for name, values in resources.items() if values}
    if container.cgroup:
        options = ("nosuid", "noexec", "nodev", "relatime", "ro")
        result["mounts"].append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", *options))
    if container.sysctl:
        linux["sysctl"] = dict(container.sysctl)
    if container.init:
        result["annotations"] = {"isoproof.init": "true"}
    result["mounts"] += [dict(mount) for mount in container.mounts or []]
    final: Config = merged(result, container.oci or {})
    return final


def merged(target: Any, patch: Any) -> Any:
    """Return a value with an RFC 7386 merge patch applied: objects merge, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _mount(destination: str, kind: str, source: str, *options: str) -> Config:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
