"""The options of a mount: which are the mount's, which the file system's, and which nobody knows. mount(8)."""

import os.path
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.runtime.config import Config
from harness.runtime.errors import ConfigError
from harness.runtime.syscalls import MOUNT_ATTR, MOUNT_ATTR_ATIME, MS

# What an option sets and what it takes away, for one mount; with an r in front, for all mounts below it too.
ATTRIBUTES = {
    "ro": (MOUNT_ATTR.RDONLY, 0),
    "rw": (0, MOUNT_ATTR.RDONLY),
    "nosuid": (MOUNT_ATTR.NOSUID, 0),
    "suid": (0, MOUNT_ATTR.NOSUID),
    "nodev": (MOUNT_ATTR.NODEV, 0),
    "dev": (0, MOUNT_ATTR.NODEV),
    "noexec": (MOUNT_ATTR.NOEXEC, 0),
    "exec": (0, MOUNT_ATTR.NOEXEC),
    "noatime": (MOUNT_ATTR.NOATIME, MOUNT_ATTR_ATIME),
    "strictatime": (MOUNT_ATTR.STRICTATIME, MOUNT_ATTR_ATIME),
    "relatime": (0, MOUNT_ATTR_ATIME),
    "atime": (0, MOUNT_ATTR_ATIME),  # neither of the others: relatime, as the kernel has it
    "nostrictatime": (0, MOUNT_ATTR_ATIME),
    "norelatime": (0, 0),  # there is nothing below relatime but what has a name of its own
    "nodiratime": (MOUNT_ATTR.NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR.NODIRATIME),
    "nosymfollow": (MOUNT_ATTR.NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR.NOSYMFOLLOW),
}

PROPAGATION = {"private": MS.PRIVATE, "slave": MS.SLAVE, "shared": MS.SHARED, "unbindable": MS.UNBINDABLE}

# The options of the file systems that containers usually mount. Others are left to the kernel to judge.
DATA = {
    "proc": {"hidepid", "gid", "subset"},
    "sysfs": set(),
    "mqueue": set(),
    "devpts": {"newinstance", "ptmxmode", "mode", "uid", "gid", "max"},
    "tmpfs": {
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "nr_blocks",
        "huge",
        "mpol",
        "noswap",
        "inode32",
        "inode64",
    },
    "cgroup": set(),
    "overlay": {
        "lowerdir",
        "lowerdir+",
        "datadir+",
        "upperdir",
        "workdir",
        "index",
        "metacopy",
        "nfs_export",
        "redirect_dir",
        "userxattr",
        "uuid",
        "verity",
        "volatile",
        "xino",
    },
    "cgroup2": {"nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot"},
}

# Of the whole file system, so not for a bind mount: it would be changed for the host, too.
SUPERBLOCK_FLAGS = {"sync", "async", "dirsync", "lazytime", "nolazytime"}

# What is so anyway: a file system made by fsopen(2) says its complaints to the caller, not to the kernel's log.
NOTHING_TO_DO = {"defaults", "silent", "loud", "nomand", "noiversion"}

REFUSED = {
    "tmpcopyup": "would copy files of the image at every start; mount an overlay, or have the program copy them",
    "mand": "Linux 5.15 has done away with mandatory locks",
    "iversion": "fsconfig(2) knows no such flag; the file systems that have it turn it on by themselves",
}

LONGEST_VALUE = 255  # bytes that fsconfig(2) takes in a string


@dataclass
class Options:
    """The options of one mount, sorted by who is to hear of them."""

    bind: bool = False
    recursive: bool = False
    remount: bool = False
    idmap: bool = False
    idmap_recursive: bool = False
    attr_set: int = 0
    attr_clr: int = 0
    recursive_set: int = 0
    recursive_clr: int = 0
    propagation: MS = MS(0)
    propagation_recursive: bool = True
    data: list[str] = field(default_factory=list)


def destination(mount: Config) -> str:
    """Return where a mount goes, in the one spelling that can be compared: /proc for /./proc/ and //proc."""
    path: str = mount["destination"]
    return "/" + os.path.normpath(path).lstrip("/")


def below(place: str, paths: Iterable[str]) -> bool:
    """Return whether a place is one of some paths, or below one."""
    return any(f"{place}/".startswith(os.path.normpath(path).rstrip("/") + "/") for path in paths)


def propagates_later(config: Config, index: int) -> bool:
    """Return whether a mount cannot be what it says before it is attached, because a shared one of the config is above.

    There everything that is attached becomes shared, and what is unbindable cannot be: mount_namespaces(7).
    """
    mount = config["mounts"][index]
    if parse(mount).propagation in (MS(0), MS.SHARED):
        return False
    shared = [destination(other) for other in config["mounts"][:index] if parse(other).propagation == MS.SHARED]
    return below(os.path.dirname(destination(mount)), shared)


def parse(mount: Config) -> Options:
    """Sort the options of a mount of the config.

    Raises ConfigError for an option that nobody knows, or that cannot be had.
    """
    field = f"config.json: mounts: {mount['destination']}"
    options = Options(bind=mount.get("type") == "bind", idmap="uidMappings" in mount or "gidMappings" in mount)
    kind = mount.get("type", "")
    for option in mount.get("options", []):
        name, _, value = option.partition("=")
        base = option[1:] if option.startswith("r") else ""
        if option in ("bind", "rbind"):
            options.bind, options.recursive = True, option == "rbind"
        elif option == "remount":
            options.remount = True
        elif option in ("idmap", "ridmap"):
            options.idmap, options.idmap_recursive = True, option == "ridmap"
        elif option in PROPAGATION or base in PROPAGATION:
            options.propagation = PROPAGATION.get(option) or PROPAGATION[base]
            options.propagation_recursive = option not in PROPAGATION
        elif option in ATTRIBUTES:
            options.attr_set, options.attr_clr = _apply(option, options.attr_set, options.attr_clr)
        elif base in ATTRIBUTES:
            options.recursive_set, options.recursive_clr = _apply(base, options.recursive_set, options.recursive_clr)
        elif option in REFUSED:
            raise ConfigError(f"{field}: option {option!r}: {REFUSED[option]}")
        elif (
            option in SUPERBLOCK_FLAGS or (kind in DATA and name in DATA[kind]) or (kind not in DATA and "=" in option)
        ):
            if len(value.encode()) > LONGEST_VALUE:
                raise ConfigError(f"{field}: option {name!r}: longer than the {LONGEST_VALUE} bytes of fsconfig(2)")
            options.data.append(option)
        elif option not in NOTHING_TO_DO:
            raise ConfigError(f"{field}: unknown option {option!r} for type {kind or 'none'}")
    return options


def _apply(option: str, attr_set: int, attr_clr: int) -> tuple[int, int]:
    """Return the attributes with one more option in force; a later option wins over an earlier one."""
    on, off = ATTRIBUTES[option]
    return (attr_set & ~off) | on, (attr_clr & ~on) | off
