"""The options of a mount: which are the mount's, which the file system's, and which nobody knows. mount(8)."""

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
    "cgroup2": {"nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot"},
}

SUPERBLOCK_FLAGS = {"sync", "dirsync", "lazytime"}


@dataclass
class Options:
    """The options of one mount, sorted by who is to hear of them."""

    bind: bool = False
    recursive: bool = False
    attr_set: int = 0
    attr_clr: int = 0
    recursive_set: int = 0
    recursive_clr: int = 0
    propagation: MS = MS.PRIVATE
    propagation_recursive: bool = True
    data: list[str] = field(default_factory=list)


def parse(mount: Config) -> Options:
    """Sort the options of a mount of the config.

    Raises ConfigError for an option that nobody knows.
    """
    options = Options(bind=mount.get("type") == "bind")
    kind = mount.get("type", "")
    for option in mount.get("options", []):
        name = option.partition("=")[0]
        base = option[1:] if option.startswith("r") else ""
        if option in ("bind", "rbind"):
            options.bind, options.recursive = True, option == "rbind"
        elif option in PROPAGATION or base in PROPAGATION:
            options.propagation = PROPAGATION.get(option) or PROPAGATION[base]
            options.propagation_recursive = option not in PROPAGATION
        elif option in ATTRIBUTES:
            options.attr_set, options.attr_clr = _apply(option, options.attr_set, options.attr_clr)
        elif base in ATTRIBUTES:
            options.recursive_set, options.recursive_clr = _apply(base, options.recursive_set, options.recursive_clr)
        elif (
            option in SUPERBLOCK_FLAGS or (kind in DATA and name in DATA[kind]) or (kind not in DATA and "=" in option)
        ):
            options.data.append(option)
        elif option != "defaults":
            raise ConfigError(
                f"config.json: mounts: {mount['destination']}: unknown option {option!r} for type {kind or 'none'}"
            )
    if options.bind and options.data:
        raise ConfigError(
            f"config.json: mounts: {mount['destination']}: a bind mount takes no option {options.data[0]!r}"
        )
    return options


def _apply(option: str, attr_set: int, attr_clr: int) -> tuple[int, int]:
    """Return the attributes with one more option in force; a later option wins over an earlier one."""
    on, off = ATTRIBUTES[option]
    return (attr_set & ~off) | on, (attr_clr & ~on) | off
