"""What a config asks for, for runtimes that are asked in other words: its features by name, and what is beyond ours."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from harness.backends import Config
from harness.runtime.spec import example

WHOLE = ("seccomp", "landlock", "sysctl", "timeOffsets", "devices", "hooks", "netDevices", "capabilities", "scheduler")


def features(config: Config) -> set[str]:
    """Return the names of what a config asks for: dotted, as in the config; of mounts and namespaces by their types.

    Such as `hostname`, `process.noNewPrivileges`, `linux.resources.memory.limit`, `linux.namespaces.pid`,
    `linux.namespaces.pid.path`, `mounts.bind`, `mounts.idmapped`. What every container of ours has, the mounts of
    /proc, /dev and /sys, the root, the user and the arguments, is not among them; neither is what is empty or false.
    """
    ordinary = [mount["destination"] for mount in example(0, 0)["mounts"]]
    found = set(_named("process", {**config["process"], "user": _beyond_ids(config["process"]["user"])}))
    found |= set(_named("root", config["root"])) | set(_named("linux", config.get("linux", {})))
    found |= {key for key in ("hostname", "domainname", "hooks") if config.get(key)}
    found |= {f"annotations.{key}" for key in config.get("annotations", {})}
    for mount in config.get("mounts", []):
        kind = "bind" if is_bind(mount) else mount.get("type", "none")
        if mount["destination"] not in ordinary:
            found.add(f"mounts.{kind}")
        if mount.get("uidMappings") or {"idmap", "ridmap"} & set(mount.get("options", [])):
            found.add("mounts.idmapped")
    for entry in config.get("linux", {}).get("namespaces", []):
        found |= {f"linux.namespaces.{entry['type']}"} | (
            {f"linux.namespaces.{entry['type']}.path"} if entry.get("path") else set()
        )
    return found - {"process.args", "process.env", "process.cwd", "root.path", "linux.namespaces"}


def is_bind(mount: Config) -> bool:
    """Return whether a mount shows a directory or file of the host's."""
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options", []))


def lacking(config: Config, expressed: Iterable[str]) -> list[str]:
    """Return the features of a config that are not among those that a runtime can express, in order."""
    return sorted(features(config) - set(expressed))


def refused_sysctls(config: Config) -> list[str]:
    """Return which sysctls runc and crun refuse, and so the engines above them: they take them for the machine's."""
    names = config.get("linux", {}).get("sysctl", {})
    return [
        f"the sysctl {name} (it has a fixed list of those that belong to a namespace)"
        for name in names
        if name.startswith(("kernel.pid_max", "user."))
    ]


def beyond_default(config: Config) -> Config:
    """Return what of a config goes beyond the default one: all that is asked for of a runtime as it is shipped.

    What the probes need, the arguments, the root and the mount of the kit, is in it in any case.
    """
    default = usual()
    rest: Config = _beyond(config, default)
    rest["root"] = {**rest.get("root", {}), "path": config["root"]["path"]}
    rest.setdefault("process", {})["args"] = config["process"]["args"]
    rest["mounts"] = [mount for mount in config["mounts"] if mount not in default["mounts"]]
    return rest


def usual() -> Config:
    """Return the default config, the one that every scenario begins with."""
    return example(os.geteuid(), os.getegid())


def _beyond(value: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    rest = {}
    for key, wanted in value.items():
        usual = default.get(key)
        if isinstance(wanted, dict) and isinstance(usual, dict):
            wanted = _beyond(wanted, usual)
            if not wanted:
                continue
        elif wanted == usual:
            continue
        rest[key] = wanted
    return rest


def _named(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and name.rpartition(".")[2] not in WHOLE:
        for key, part in value.items():
            yield from _named(f"{name}.{key}", part)
    elif value not in (None, False, [], {}, ""):
        yield name


def _beyond_ids(user: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in user.items() if key not in ("uid", "gid")}
