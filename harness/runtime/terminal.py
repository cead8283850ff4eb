"""A terminal of the container's own: a pseudoterminal of the devpts that is mounted for it. pty(7), runtime-spec.

No path is looked up in the image: the new devpts is reached by the descriptor that it was mounted with, the terminal by
an ioctl(2) on its other end, and its place at /dev/console is made on the container's own /dev.
"""

import errno
import os.path
import struct

from harness.runtime import devices, rendezvous
from harness.runtime.config import Config
from harness.runtime.errors import ConfigError
from harness.runtime.mountoptions import parse
from harness.runtime.step import Call, Packed, Saved, Step
from harness.runtime.syscalls import (
    AT,
    MOVE_MOUNT,
    OPEN_TREE,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    S_IFREG,
    TIOC,
    O,
    open_how,
)

INSTANCE = "devpts"  # the name under which the descriptor of the container's devpts is kept
MEETING = "terminal"  # at which the launcher is handed the master: harness.runtime.rendezvous


def wanted(config: Config) -> bool:
    """Return whether the program is to have a terminal of its own."""
    return bool(config["process"].get("terminal"))


def instance(config: Config) -> int | None:
    """Return which mount of the config the terminal is made in, if one is wanted: the last at /dev/pts, a devpts."""
    if not wanted(config):
        return None
    mounts = config.get("mounts", [])
    at = [index for index, mount in enumerate(mounts) if os.path.normpath(mount["destination"]) == "/dev/pts"]
    if not at or mounts[at[-1]].get("type") != "devpts" or parse(mounts[at[-1]]).bind:
        return None
    return at[-1]


def check(config: Config) -> None:
    """Raise ConfigError where a terminal is wanted that could not be made, or would have half a size."""
    if not wanted(config):
        return
    own, pts = devices.own(config), instance(config)
    if own is None or pts is None or pts < own:
        raise ConfigError(
            "config.json: process.terminal: needs mounts of a tmpfs at /dev and, on it, a devpts at /dev/pts"
        )
    size = config["process"].get("consoleSize", {})
    for name in ("height", "width") if size else ():
        if name not in size:
            raise ConfigError(f"config.json: process.consoleSize.{name}: missing")


def make(config: Config) -> list[Step]:
    """Make the terminal, put it at /dev/console and in the place of the standard streams; hand over its master."""
    if not wanted(config):
        return []
    master, slave, console = Saved("master"), Saved("slave"), Saved("console")
    how = open_how(O.RDWR | O.NOCTTY | O.CLOEXEC, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS)
    shown = Packed(how, "O_RDWR|O_NOCTTY|O_CLOEXEC, RESOLVE_NO_XDEV|RESOLVE_NO_SYMLINKS")
    uid = config["process"].get("user", {}).get("uid", 0)
    pair = (
        Call("openat2", (Saved(INSTANCE), "ptmx", shown, len(how)), saves="master"),
        Call("close", (Saved(INSTANCE),)),
        Call("ioctl", (master, TIOC.SPTLCK, Packed(struct.pack("=i", 0), "0"))),
        Call("ioctl", (master, TIOC.GPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC), saves="slave"),
        *_set_size(config),
        # The group stays what the option gid of the devpts says.
        Call("fchownat", (slave, "", uid, devices.UNSAID, AT.EMPTY_PATH)),
    )
    bind = (
        Call("mknodat", (Saved(devices.DIRECTORY), "console", S_IFREG | 0o600, 0), (errno.EEXIST,)),
        Call("open_tree", (slave, "", OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.EMPTY_PATH), saves="console"),
        Call("move_mount", (console, "", Saved(devices.DIRECTORY), "console", MOVE_MOUNT.F_EMPTY_PATH)),
        Call("close", (console,)),
    )
    streams = (
        *(Call("dup3", (slave, stream, 0)) for stream in (0, 1, 2)),
        Call("ioctl", (slave, TIOC.SCTTY, 0)),
        Call("close", (slave,)),
        Call("close", (master,)),
    )
    return [
        Step("terminal", "the slave by its master, never by a path that may lie: ioctl_tty(2)", pair),
        Step("console", "the same terminal, never a symlink's target: console(4), open_tree(2)", bind),
        rendezvous.meet(MEETING, "the master is the launcher's, who is in front of it: pty(7)", master),
        Step("controlling-terminal", "so that it can interrupt its session: ioctl_tty(2)", streams),
    ]


def _set_size(config: Config) -> tuple[Call, ...]:
    """Return the call that gives the terminal the size of the config; without one its launcher knows better."""
    size = config["process"].get("consoleSize")
    if not size:
        return ()
    packed = struct.pack("=4H", size["height"], size["width"], 0, 0)
    shown = Packed(packed, f"{size['height']} rows, {size['width']} columns")
    return (Call("ioctl", (Saved("slave"), TIOC.SWINSZ, shown)),)
