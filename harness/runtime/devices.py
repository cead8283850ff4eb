"""The devices that every program may count on. runtime-spec, config-linux, "Default Devices"."""

import os

from harness.runtime.config import Config, namespaces
from harness.runtime.step import Call, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, MOVE_MOUNT, OPEN_TREE, S_IFCHR, S_IFREG

# name: (major, minor); Documentation/admin-guide/devices.txt of the kernel
DEFAULT = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}

LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def wanted(config: Config) -> bool:
    """Return whether devices are made: only on a /dev of the container's own, never on the image's or the host's."""
    return any(
        mount["destination"].rstrip("/") == "/dev" and mount.get("type") == "tmpfs"
        for mount in config.get("mounts", [])
    )


def bound(config: Config) -> bool:
    """Return whether the host's nodes are bound, because in a user namespace mknod(2) is not allowed."""
    return wanted(config) and "user" in namespaces(config)


def open_nodes(config: Config) -> list[Step]:
    """Take the host's device nodes as detached mounts, where own ones cannot be made."""
    if not bound(config):
        return []
    flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC
    calls = [Call("open_tree", (AT_FDCWD, f"/dev/{name}", flags), saves=f"dev-{name}") for name in DEFAULT]
    return [
        Step(
            "open-devices",
            "mknod(2) is not allowed in a user namespace, so the host's nodes are bound",
            tuple(calls),
        )
    ]


def make(config: Config) -> list[Step]:
    """Fill /dev with the default nodes and links."""
    if not wanted(config):
        return []
    nodes: list[Call] = []
    for name, (major, minor) in DEFAULT.items():
        path = f"/dev/{name}"
        if bound(config):
            nodes.append(Call("mknodat", (AT_FDCWD, path, S_IFREG | 0o666, 0)))
            nodes.append(Call("move_mount", (Saved(f"dev-{name}"), "", AT_FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH)))
            nodes.append(Call("close", (Saved(f"dev-{name}"),)))
        else:
            nodes.append(Call("mknodat", (AT_FDCWD, path, S_IFCHR | 0o666, os.makedev(major, minor))))
    links = tuple(Call("symlinkat", (target, AT_FDCWD, f"/dev/{name}")) for name, target in LINKS.items())
    return [
        Step(
            "devices",
            "on the own /dev, where the image cannot have put anything in their place: mknod(2)",
            tuple(nodes),
        ),
        Step("device-links", "names that programs expect in /dev: runtime-spec, config-linux", links),
    ]
