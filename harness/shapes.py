"""The scenario's shorthand for a container, laid over the default one until it is a config."""

from __future__ import annotations

import copy
import platform
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from harness.runtime.config import Config
from harness.runtime.privileges import SETS
from harness.runtime.profile import profile
from harness.runtime.spec import example

if TYPE_CHECKING:
    from harness.language import Container

KIT = "/isoproof"  # where the probe kit is, in every container
COMMAND = "container.command"  # in process.args: what runs the probes, in as many words as it takes
FIRST_ID, IDS = 1 << 20, 1 << 16  # of a container that has ids of its own: above those of users and of /etc/subuid
PERIOD = 100_000  # microseconds; what quotas are counted in where the scenario names a share of one CPU


def default(uid: int, gid: int) -> Config:
    """Return the config of an ordinary container; `container.rootfs` stands for a path that is not known yet."""
    config = example(uid, gid)
    config["root"]["path"] = "container.rootfs"
    config["process"]["args"] = [COMMAND]
    return config


def config(layers: Iterable[Container], uid: int, gid: int) -> Config:
    """Return the config that a scenario's shorthand stands for: shapes over the default one, and its own over them.

    `uid` and `gid` are those of the user who runs the harness: an ordinary user's containers have a user namespace.
    The probe kit is in all of them; `container.kit` stands for its path.
    """
    *shapes, own = layers
    result = default(uid, gid)
    for shape in shapes:
        result = _laid(shape, result, uid)
    result["mounts"].append(_mount(KIT, "bind", "container.kit", "bind", "ro", "nosuid", "nodev"))
    return _laid(own, result, uid)


def _laid(container: Container, result: Config, uid: int) -> Config:
    process, linux = result["process"], result["linux"]
    if container.hostname:
        result["hostname"] = container.hostname
    if container.domainname:
        result["domainname"] = container.domainname
    if container.readonly is not None:
        result["root"]["readonly"] = container.readonly
    if container.oom_score_adj is not None:
        process["oomScoreAdj"] = container.oom_score_adj
    _lay_rights(container, process, linux)
    if container.userns and uid == 0:
        _map_ids(linux)
    resources = {
        "memory": {"limit": container.memory} if container.memory else {},
        "pids": {"limit": container.pids} if container.pids else {},
        "cpu": {"quota": int(container.cpu * PERIOD), "period": PERIOD} if container.cpu else {},
    }
    if any(resources.values()):
        given = {name: values for name, values in resources.items() if values}
        linux["resources"] = linux.get("resources", {}) | given
    for kind, wanted in (container.namespaces or {}).items():
        others = [entry for entry in linux["namespaces"] if entry["type"] != kind]
        linux["namespaces"] = [*others, {"type": kind}] if wanted else others
    if container.cgroup and all(mount["type"] != "cgroup" for mount in result["mounts"]):
        options = ("nosuid", "noexec", "nodev", "relatime", "ro")
        result["mounts"].append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", *options))
    if container.sysctl:
        linux["sysctl"] = linux.get("sysctl", {}) | container.sysctl
    if container.init:
        result["annotations"] = {"isoproof.init": "true"}
    result["mounts"] += [dict(mount) for mount in container.mounts or []]
    final: Config = merged(result, container.oci or {})
    return final


def _lay_rights(container: Container, process: Config, linux: Config) -> None:
    """Give capabilities, and a filter that goes with them: it opens the calls that they allow."""
    capabilities = process["capabilities"]
    if container.capabilities is not None:
        wanted = [f"CAP_{name}" for name in container.capabilities]
        process["capabilities"] = capabilities = {kind: list(wanted) for kind in SETS[:3]}
    for kind in SETS:
        if container.grant:
            granted = capabilities.setdefault(kind, [])
            granted += [f"CAP_{name}" for name in container.grant if f"CAP_{name}" not in granted]
    if container.seccomp is False:
        linux.pop("seccomp", None)
    changed = container.grant or container.capabilities is not None
    if container.seccomp or (changed and "seccomp" in linux):
        linux["seccomp"] = profile(capabilities["bounding"], platform.machine())


def _map_ids(linux: Config) -> None:
    """Make a user namespace in which no id is one that the host uses.

    An ordinary user has no such ids to give; his container's root is himself.
    """
    linux["namespaces"] = [*linux["namespaces"], {"type": "user"}]
    for kind in ("uidMappings", "gidMappings"):
        linux[kind] = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]


def merged(target: Any, patch: Any) -> Any:
    """Return a value with an RFC 7386 merge patch applied: objects merge, null removes, all else replaces.

    What is taken from the patch is a copy: a shape's serves many containers, and each goes on to change its config.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def patch(original: Config, changed: Config) -> Config:
    """Return the merge patch that makes the one of the other, as short as it can be."""
    found: Config = {key: None for key in original if key not in changed}
    for key, value in changed.items():
        before = original.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = patch(before, value)
            found |= {key: inner} if inner else {}
        elif key not in original or value != before:
            found[key] = copy.deepcopy(value)
    return found


def _mount(destination: str, kind: str, source: str, *options: str) -> Config:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
