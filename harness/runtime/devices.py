"""The devices that every program may count on, and those that the config declares. runtime-spec, config-linux.

They are made on a tmpfs of the container's own, by the descriptor that it was mounted with: no path is looked up in the
image, so nothing that the image ships can stand in their place or lead elsewhere. A config without a tmpfs at /dev gets
no devices, for they would be made in the image (or on the host, where /dev is bound); it may not declare any either.
"""

import errno
import os
import stat
from dataclasses import dataclass

from harness.runtime.config import Config, namespaces
from harness.runtime.errors import BadInput, ConfigError
from harness.runtime.mountoptions import destination, parse
from harness.runtime.step import Call, Packed, Saved, Step
from harness.runtime.syscalls import (
    AT,
    AT_FDCWD,
    MOVE_MOUNT,
    OPEN_TREE,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    S_IFREG,
    O,
    explain_errno,
    open_how,
)

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

FORMATS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}
UNSAID = -1  # for chown(2): as it is
SET_ID = stat.S_ISUID | stat.S_ISGID  # bits that chown(2) takes away
DIRECTORY = "dev"  # the name under which the descriptor of the own /dev is kept


@dataclass(frozen=True, slots=True)
class Node:
    """A device node to be: `path` below /dev, and mode and owner where the config says so."""

    path: str
    format: int
    number: int
    mode: int = 0o666
    uid: int = UNSAID
    gid: int = UNSAID


def own(config: Config) -> int | None:
    """Return which mount of the config is a /dev of the container's own, if there is one: the last at /dev, a tmpfs."""
    mounts = config.get("mounts", [])
    at = [index for index, mount in enumerate(mounts) if destination(mount) == "/dev"]
    if not at or mounts[at[-1]].get("type") != "tmpfs" or parse(mounts[at[-1]]).bind:
        return None
    return at[-1]


def bound(config: Config, node: Node) -> bool:
    """Return whether the host's node is bound, because in a user namespace mknod(2) makes nothing but FIFOs."""
    return "user" in namespaces(config) and node.format != S_IFIFO


def declared(config: Config) -> list[Node]:
    """Return the nodes that the config declares.

    Raises ConfigError for one that is not whole, or that would not be on the container's own /dev.
    """
    nodes: dict[str, Node] = {}
    covered = [os.path.normpath(mount["destination"]) for mount in config.get("mounts", [])]
    for index, device in enumerate(config.get("linux", {}).get("devices", [])):
        field = f"config.json: linux.devices[{index}]"
        for name in ("type", "path", *(("major", "minor") if device.get("type") != "p" else ())):
            if name not in device:
                raise ConfigError(f"{field}.{name}: missing")
        path = os.path.normpath(device["path"])
        if own(config) is None or not path.startswith("/dev/"):
            raise ConfigError(f"{field}.path: not below a /dev that is a tmpfs of mounts; the image gets no devices")
        if any((path + "/").startswith(above + "/") for above in covered if above.startswith("/dev/")):
            raise ConfigError(f"{field}.path: covered by another mount of the config")
        name = path.removeprefix("/dev/")
        if name in nodes:
            raise ConfigError(f"{field}.path: {path} is declared twice")
        number = os.makedev(device.get("major", 0), device.get("minor", 0))
        owner = device.get("uid", UNSAID), device.get("gid", UNSAID)
        nodes[name] = Node(name, FORMATS[device["type"]], number, device.get("fileMode", 0o666), *owner)
    return list(nodes.values())


def wanted(config: Config) -> list[Node]:
    """Return every node of the container: the default ones that the config puts nothing else in place of, and its own.

    Raises ConfigError as `declared` does.
    """
    extra = declared(config)
    if own(config) is None:
        return []
    taken = _taken(config)
    default = [Node(name, S_IFCHR, os.makedev(*numbers)) for name, numbers in DEFAULT.items() if name not in taken]
    return default + extra


def _taken(config: Config) -> set[str]:
    """Return the names in /dev that the config itself gives to something."""
    paths = [entry["destination"] for entry in config.get("mounts", [])]
    paths += [entry["path"] for entry in config.get("linux", {}).get("devices", [])]
    return {os.path.normpath(path).removeprefix("/dev/") for path in paths}


def check_host(config: Config) -> None:
    """Hold the host's nodes that are to be bound to what the config declares, for they are taken as they are.

    Raises BadInput for one that is not there, or is another device than declared, or has another mode or owner.
    """
    if "user" not in namespaces(config):
        return
    for node in declared(config):
        if not bound(config, node):
            continue
        line = f"config.json: linux.devices: /dev/{node.path}: in a user namespace the host's node is bound, and that"
        try:
            found = os.stat(f"/dev/{node.path}")
        except OSError as error:
            raise BadInput(f"{line} is not to be had: {explain_errno(error.errno or 0)}") from None
        if (stat.S_IFMT(found.st_mode), found.st_rdev) != (node.format, node.number):
            raise BadInput(f"{line} is another device")
        entry = next(item for item in config["linux"]["devices"] if os.path.normpath(item["path"])[5:] == node.path)
        if "fileMode" in entry and stat.S_IMODE(found.st_mode) != node.mode:
            raise BadInput(f"{line} has the mode {stat.S_IMODE(found.st_mode):04o}; leave out fileMode")
        for kind, host_id in (("uid", found.st_uid), ("gid", found.st_gid)):
            if entry.get(kind, 0) and _inside(config["linux"][f"{kind}Mappings"], host_id) != entry[kind]:
                raise BadInput(f"{line} belongs to {kind} {host_id} of the host; leave out {kind}")


def _inside(mappings: list[Config], host_id: int) -> int | None:
    """Return what an id of the host is inside, if it is mapped."""
    for entry in mappings:
        if 0 <= host_id - entry["hostID"] < entry["size"]:
            inside: int = entry["containerID"] + host_id - entry["hostID"]
            return inside
    return None


def open_nodes(config: Config) -> list[Step]:
    """Take the host's device nodes as detached mounts, where own ones cannot be made."""
    flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC
    calls = tuple(
        Call("open_tree", (AT_FDCWD, f"/dev/{node.path}", flags), saves=_handle(node))
        for node in wanted(config)
        if bound(config, node)
    )
    why = "mknod(2) is not allowed in a user namespace, so the host's nodes are bound"
    return [Step("open-devices", why, calls)] if calls else []


def make(config: Config) -> list[Step]:
    """Fill the own /dev with nodes and links."""
    if own(config) is None:
        return []
    nodes: tuple[Call, ...] = ()
    for node in wanted(config):
        nodes += _make(node, bound(config, node))
    links = tuple(
        Call("symlinkat", (target, Saved(DIRECTORY), name))
        for name, target in LINKS.items()
        if name not in _taken(config)
    )
    return [
        Step("devices", "by descriptor, so that nothing of the image can be in their place: mknod(2)", nodes),
        Step("device-links", "names that programs expect in /dev: runtime-spec, config-linux", links),
    ]


def _make(node: Node, bind: bool) -> tuple[Call, ...]:
    """Return the calls that make one node, and the directories above it."""
    directory = Saved(DIRECTORY)
    calls: tuple[Call, ...] = ()
    *above, name = node.path.split("/")
    # The mounts of the config are there by now: one that a symlink of the image has led here must not be entered.
    how = open_how(O.PATH | O.DIRECTORY | O.CLOEXEC, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
    shown = Packed(how, "O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_NO_XDEV|RESOLVE_NO_SYMLINKS")
    for depth, part in enumerate(above):
        inner = f"{DIRECTORY}-{depth}"
        calls += (
            Call("mkdirat", (directory, part, 0o755), (errno.EEXIST,)),
            Call("openat2", (directory, part, shown, len(how)), saves=inner),
        )
        directory = Saved(inner)
    if bind:
        handle = Saved(_handle(node))
        calls += (
            Call("mknodat", (directory, name, S_IFREG | 0o666, 0)),
            Call("move_mount", (handle, "", directory, name, MOVE_MOUNT.F_EMPTY_PATH)),
            Call("close", (handle,)),
        )
    else:
        calls += (Call("mknodat", (directory, name, node.format | node.mode, node.number)),)
        if (node.uid, node.gid) != (UNSAID, UNSAID):
            calls += (Call("fchownat", (directory, name, node.uid, node.gid, AT.SYMLINK_NOFOLLOW)),)
            if node.mode & SET_ID:
                calls += (Call("fchmodat", (directory, name, node.mode)),)
    return calls + tuple(Call("close", (Saved(f"{DIRECTORY}-{depth}"),)) for depth in range(len(above)))


def open_null(config: Config) -> list[Step]:
    """Take the host's null device along, where masks need one and the container makes none."""
    if own(config) is not None or not config.get("linux", {}).get("maskedPaths"):
        return []
    calls = (Call("open_tree", (AT_FDCWD, "/dev/null", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC), saves="null"),)
    return [Step("open-null", "for the masks: what the image calls /dev/null may be anything: null(4)", calls)]


def enter(config: Config) -> list[Step]:
    """Go where `null` is surely the null device, for the masks; let go of the own /dev."""
    directory = Saved(DIRECTORY)
    masked = config.get("linux", {}).get("maskedPaths")
    leave = (Call("close", (directory,)),)
    if own(config) is not None:
        enter = (Call("fchdir", (directory,)),) if masked else ()
        why = "masks are made of the own null device, by whatever name the image may reach /dev: null(4)"
        return [Step("enter-dev", why, enter + leave)]
    if not masked:
        return []
    null = Saved("null")
    calls = (
        Call("openat", (AT_FDCWD, "/dev", O.PATH | O.DIRECTORY | O.CLOEXEC), saves=DIRECTORY),
        Call("move_mount", (null, "", directory, "null", MOVE_MOUNT.F_EMPTY_PATH)),
        Call("close", (null,)),
        Call("fchdir", (directory,)),
    )
    return [Step("cover-null", "a mask by the image's own null could show anything: null(4)", calls + leave)]


def _handle(node: Node) -> str:
    return f"dev-{node.path}"
