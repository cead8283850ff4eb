"""Control groups: how much of the machine a container may use. cgroups(7).

Version 1 has a tree for each controller, version 2 one tree for all; a host may have both at once, so every mounted
hierarchy is looked at for itself. The container's cgroups are made below the caller's own, never beside them, except
where version 2 does not allow that (see `harness.runtime.inspect`).
"""

import errno
import os.path

from harness.runtime import devicefilter, limits
from harness.runtime.config import Config, joined, own
from harness.runtime.errors import StartError
from harness.runtime.step import Call, Hierarchy, Host, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O

AT_REMOVEDIR = 0x200


def wanted(config: Config) -> bool:
    """Return whether the container gets cgroups of its own."""
    linux = config.get("linux", {})
    mounted = any(mount.get("type") == "cgroup" for mount in config.get("mounts", []))
    return bool(linux.get("resources") or linux.get("cgroupsPath") or mounted)


def needed(config: Config, rootless: bool) -> bool:
    """Return whether the container gets cgroups of its own, or has to, because nothing else holds it together.

    Without a PID namespace of its own, daemons outlive its first process. An ordinary user may have no cgroup to give.
    """
    alone = "pid" not in own(config) and "cgroup" not in joined(config)
    return wanted(config) or (alone and not rootless)


def directory(hierarchy: Hierarchy, config: Config, host: Host) -> str:
    """Return where the container's cgroup of this hierarchy is, as a path of the host."""
    path: str = config.get("linux", {}).get("cgroupsPath", "")
    if path.startswith("/"):
        return os.path.normpath(hierarchy.point + path)
    return os.path.join(hierarchy.parent, path or host.name)


def used(config: Config, host: Host) -> list[Hierarchy]:
    """Return the hierarchies in which the container gets a cgroup.

    All of them as root, so that nothing of the container is counted elsewhere; an ordinary user only has what was
    delegated, so only those that are needed. Raises ConfigError and StartError as `limits.check` does.
    """
    if not needed(config, host.rootless):
        return []
    limits.check(config, host)
    filtering = filtered(config, host)
    if not host.rootless:
        return list(host.hierarchies)
    return [
        hierarchy
        for hierarchy in host.hierarchies
        if hierarchy.controllers & limits.controllers(config, hierarchy.version) or hierarchy == filtering
    ]


def filtered(config: Config, host: Host) -> Hierarchy | None:
    """Return the hierarchy that decides on devices, if the config has rules for them.

    Version 1 where it has the controller, else version 2, which needs none. Raises StartError where there is neither.
    """
    if not devicefilter.wanted(config):
        return None
    for hierarchy in host.hierarchies:
        if "devices" in hierarchy.controllers:
            return hierarchy
    for hierarchy in host.hierarchies:
        if hierarchy.version == 2:
            return hierarchy
    raise StartError("limit devices: neither the version 1 controller devices nor version 2 is mounted here")


def make(config: Config, host: Host) -> list[Step]:
    """Make the cgroups and set their limits, on the host's side and before there is anything to be limited."""
    steps = []
    calls: tuple[Call, ...]
    for hierarchy in used(config, host):
        steps += _enable(hierarchy.parent, sorted(limits.controllers(config, hierarchy.version) & hierarchy.enable))
        for path in _missing(hierarchy, config, host):
            calls = (Call("mkdirat", (AT_FDCWD, path, 0o755), (errno.EEXIST,)),)
            if path == directory(hierarchy, config, host):
                name, why = "cgroup", "the cgroup that the container will be counted in: cgroups(7)"
                undo = (Call("unlinkat", (AT_FDCWD, path, AT_REMOVEDIR), (errno.ENOENT,)),)
            else:
                name, why = "above-cgroup", "on the way to the container's; others may come to live in it: cgroups(7)"
                undo = (Call("unlinkat", (AT_FDCWD, path, AT_REMOVEDIR), (errno.ENOENT, errno.EBUSY)),)
            steps.append(Step(f"{name}:{path}", why, calls, undo))
            if name == "above-cgroup" and hierarchy.version == 2:
                steps += _enable(path, sorted(limits.controllers(config, 2) & hierarchy.controllers))
            if hierarchy.cpus:
                calls = _write(f"{path}/cpuset.cpus", hierarchy.cpus) + _write(f"{path}/cpuset.mems", hierarchy.mems)
                steps.append(
                    Step(
                        f"cpuset:{path}",
                        "a new version 1 cpuset is empty and admits nobody: cpuset(7)",
                        calls,
                    )
                )
        for limit in limits.writes(config, hierarchy.version, hierarchy.controllers):
            calls = _write(f"{directory(hierarchy, config, host)}/{limit.file}", limit.text)
            steps.append(Step(f"limit:{limit.controller}", "in force before the first instruction: cgroups(7)", calls))
        if hierarchy == filtered(config, host):
            steps.append(devicefilter.limit(config, directory(hierarchy, config, host), hierarchy.version))
    return steps


def join(config: Config, host: Host) -> list[Step]:
    """Move the child into its version 1 cgroups.

    By its own hand and by `tasks`: moving a single task spares the kernel the lock and the grace period that
    `cgroup.procs` costs. Version 2 needs no step: the child is born there (CLONE_INTO_CGROUP).
    """
    steps = []
    for hierarchy in used(config, host):
        if hierarchy.version == 1:
            name = ",".join(sorted(hierarchy.controllers)) or os.path.basename(hierarchy.point)
            calls = _write(f"{directory(hierarchy, config, host)}/tasks", "0")
            steps.append(
                Step(
                    f"join:{name}",
                    "first of all, so that the start itself is already counted: cgroups(7)",
                    calls,
                )
            )
    return steps


def born_into(config: Config, host: Host) -> str:
    """Return the version 2 cgroup into which the child is to be cloned, or nothing."""
    for hierarchy in used(config, host):
        if hierarchy.version == 2:
            return directory(hierarchy, config, host)
    return ""


def _enable(cgroup: str, controllers: list[str]) -> list[Step]:
    steps = []
    for name in controllers:
        path = f"{cgroup}/cgroup.subtree_control"
        why = "version 2 gives a controller to children only when told to: cgroups(7)"
        # Undone only by the last to go: a container started meanwhile would lose its limits without a word.
        steps.append(Step(f"enable:{name}", why, _write(path, f"+{name}"), _write(path, f"-{name}", errno.EBUSY)))
    return steps


def _missing(hierarchy: Hierarchy, config: Config, host: Host) -> list[str]:
    """Return the directories to be made, outermost first."""
    end = directory(hierarchy, config, host)
    base = hierarchy.parent if end.startswith(hierarchy.parent + "/") else hierarchy.point
    paths = []
    path = base
    for part in os.path.relpath(end, base).split("/"):
        path = os.path.join(path, part)
        paths.append(path)
    return paths


def _write(path: str, text: str, *allowed: int) -> tuple[Call, ...]:
    opened = Saved("file")
    return (
        Call("openat", (AT_FDCWD, path, O.WRONLY | O.CLOEXEC), saves="file"),
        Call("write", (opened, text, len(text.encode())), allowed),
        Call("close", (opened,)),
    )
