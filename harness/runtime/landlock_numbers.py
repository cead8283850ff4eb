"""The kernel's vocabulary of Landlock: rights, scopes and kinds of rules. landlock(7)"""

import enum
import struct

from harness.runtime.syscalls import Flag


class LANDLOCK_ACCESS_FS(Flag):
    """landlock(7)."""

    EXECUTE = 0x1
    WRITE_FILE = 0x2
    READ_FILE = 0x4
    READ_DIR = 0x8
    REMOVE_DIR = 0x10
    REMOVE_FILE = 0x20
    MAKE_CHAR = 0x40
    MAKE_DIR = 0x80
    MAKE_REG = 0x100
    MAKE_SOCK = 0x200
    MAKE_FIFO = 0x400
    MAKE_BLOCK = 0x800
    MAKE_SYM = 0x1000
    REFER = 0x2000
    TRUNCATE = 0x4000
    IOCTL_DEV = 0x8000


class LANDLOCK_ACCESS_NET(Flag):
    """landlock(7)."""

    BIND_TCP = 0x1
    CONNECT_TCP = 0x2


class LANDLOCK_SCOPE(Flag):
    """landlock(7)."""

    ABSTRACT_UNIX_SOCKET = 0x1
    SIGNAL = 0x2


class LANDLOCK_RULE(enum.IntEnum):
    """landlock_add_rule(2)."""

    PATH_BENEATH = 1
    NET_PORT = 2

    def __str__(self) -> str:
        return f"LANDLOCK_RULE_{self.name}"


LANDLOCK_CREATE_RULESET_VERSION = 1


def landlock_ruleset_attr(handled_access_fs: int, handled_access_net: int, scoped: int) -> bytes:
    """Return the kernel's `struct landlock_ruleset_attr`, for landlock_create_ruleset(2)."""
    return struct.pack("=3Q", handled_access_fs, handled_access_net, scoped)
