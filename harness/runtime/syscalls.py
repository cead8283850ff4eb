"""The kernel's own vocabulary: numbers, flags and structs, and the one funnel from errno to words.

The names are the kernel's. Flags are enumerations so that a plan can be printed the way strace prints it. Only calls
that exist on every architecture are used (`mkdirat`, never `mkdir`), so one table of two columns serves x86_64 and
aarch64.
"""

import ctypes
import enum
import errno as errno_names
import os
import platform
import struct

# name: (x86_64, aarch64); from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h
NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chdir": (80, 49),
    "chroot": (161, 51),
    "clock_gettime": (228, 113),
    "clone3": (435, 435),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup3": (292, 24),
    "execve": (59, 221),
    "fchdir": (81, 50),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "flock": (73, 32),
    "fcntl": (72, 25),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "keyctl": (250, 219),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lsm_list_modules": (461, 461),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mprotect": (10, 226),
    "nanosleep": (35, 101),
    "open_tree": (428, 428),
    "openat": (257, 56),
    "openat2": (437, 437),
    "statx": (332, 291),
    "set_mempolicy": (238, 237),
    "personality": (135, 92),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "read": (0, 63),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "seccomp": (317, 277),
    "sched_getscheduler": (145, 120),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setscheduler": (144, 119),
    "sendmsg": (46, 211),
    "setdomainname": (171, 162),
    "setgroups": (116, 159),
    "sethostname": (170, 161),
    "setpriority": (141, 140),
    "setns": (308, 268),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "setsid": (112, 157),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "statfs": (137, 43),
    "symlinkat": (266, 36),
    "umask": (95, 166),
    "umount2": (166, 39),
    "unlinkat": (263, 35),
    "unshare": (272, 97),
    "write": (1, 64),
}

ARCHITECTURES = {"x86_64": 0, "aarch64": 1}


def number(name: str) -> int:
    """Return the number of a system call on this machine.

    Raises KeyError for a machine that is neither x86_64 nor aarch64.
    """
    return NUMBERS[name][ARCHITECTURES[platform.machine()]]


class Flag(enum.IntFlag):
    """A set of kernel flags that prints itself as C would: `MS_REC|MS_PRIVATE`."""

    def __str__(self) -> str:
        prefix = type(self).__name__
        known = [f"{prefix}_{member.name}" for member in type(self) if member.value and member in self]
        return "|".join(known) or "0"


class AT(Flag):
    """openat(2), open_tree(2)."""

    EMPTY_PATH = 0x1000
    RECURSIVE = 0x8000
    SYMLINK_NOFOLLOW = 0x100


AT_FDCWD = -100


class BPF(enum.IntEnum):
    """bpf(2) commands."""

    PROG_LOAD = 5
    PROG_ATTACH = 8

    def __str__(self) -> str:
        return f"BPF_{self.name}"


BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2


class CLONE(Flag):
    """clone(2); the namespaces are those of namespaces(7)."""

    NEWTIME = 0x80
    VM = 0x100
    FS = 0x200
    PIDFD = 0x1000
    VFORK = 0x4000
    PARENT = 0x8000
    NEWNS = 0x20000
    NEWCGROUP = 0x02000000
    NEWUTS = 0x04000000
    NEWIPC = 0x08000000
    NEWUSER = 0x10000000
    NEWPID = 0x20000000
    NEWNET = 0x40000000
    CLEAR_SIGHAND = 0x100000000
    INTO_CGROUP = 0x200000000


class FSCONFIG(enum.IntEnum):
    """fsconfig(2) commands."""

    SET_FLAG = 0
    SET_STRING = 1
    CMD_CREATE = 6

    def __str__(self) -> str:
        return f"FSCONFIG_{self.name}"


class FSOPEN(Flag):
    """fsopen(2)."""

    CLOEXEC = 1


class FSMOUNT(Flag):
    """fsmount(2)."""

    CLOEXEC = 1


class MNT(Flag):
    """umount2(2)."""

    DETACH = 2


class MOUNT_ATTR(Flag):
    """Properties of one mount, not of its file system: mount_setattr(2)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    NOATIME = 0x10
    STRICTATIME = 0x20
    NODIRATIME = 0x80
    IDMAP = 0x100000
    NOSYMFOLLOW = 0x200000


MOUNT_ATTR_ATIME = 0x70  # the field in which NOATIME, STRICTATIME and (as 0) RELATIME exclude each other


class MOVE_MOUNT(Flag):
    """move_mount(2)."""

    F_EMPTY_PATH = 0x4
    T_SYMLINKS = 0x10
    T_EMPTY_PATH = 0x40


class MS(Flag):
    """mount(2), and the propagation types of mount_namespaces(7)."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    BIND = 0x1000
    REC = 0x4000
    UNBINDABLE = 0x20000
    PRIVATE = 0x40000
    SLAVE = 0x80000
    SHARED = 0x100000


O_DIRECTORY = 0x4000 if platform.machine() == "aarch64" else 0x10000  # arch/arm64/include/uapi/asm/fcntl.h


class O(Flag):  # noqa: E742 - the kernel's own name
    """open(2)."""

    WRONLY = 0x1
    RDWR = 0x2
    CREAT = 0x40
    NOCTTY = 0x100
    DIRECTORY = O_DIRECTORY
    NONBLOCK = 0x800
    CLOEXEC = 0x80000
    PATH = 0x200000


class OPEN_TREE(Flag):
    """open_tree(2)."""

    CLONE = 0x1
    CLOEXEC = 0x80000


class PR(enum.IntEnum):
    """prctl(2)."""

    SET_PDEATHSIG = 1
    GET_DUMPABLE = 3
    SET_DUMPABLE = 4
    SET_KEEPCAPS = 8
    CAPBSET_DROP = 24
    SET_TIMERSLACK = 29
    SET_NO_NEW_PRIVS = 38
    SET_THP_DISABLE = 41
    GET_THP_DISABLE = 42
    CAP_AMBIENT = 47

    def __str__(self) -> str:
        return f"PR_{self.name}"


class SECCOMP_FILTER_FLAG(Flag):
    """seccomp(2)."""

    TSYNC = 0x1
    LOG = 0x2
    SPEC_ALLOW = 0x4
    NEW_LISTENER = 0x8
    TSYNC_ESRCH = 0x10
    WAIT_KILLABLE_RECV = 0x20


class SECCOMP(enum.IntEnum):
    """seccomp(2)."""

    SET_MODE_FILTER = 1

    def __str__(self) -> str:
        return f"SECCOMP_{self.name}"


class TIOC(enum.IntEnum):
    """ioctl_tty(2)."""

    SCTTY = 0x540E
    SWINSZ = 0x5414
    GPTPEER = 0x5441
    SPTLCK = 0x40045431

    def __str__(self) -> str:
        return f"TIOC{self.name}"


PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
STATX_TYPE = 0x1
STATX_INO = 0x100
STATX_MNT_ID = 0x1000
STATX_SIZE = 256  # bytes of a struct statx
RESOLVE_NO_XDEV = 0x1
RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_IN_ROOT = 0x10
NS_GET_NSTYPE = 0xB703
F_DUPFD_CLOEXEC = 1030
SIOCSIFFLAGS = 0x8914
SIOCGIFINDEX = 0x8933
IFF_UP = 0x1
S_IFREG = 0o100000
S_IFCHR = 0o020000
S_IFBLK = 0o060000
S_IFIFO = 0o010000

# include/uapi/linux/sched.h; the flags that clamp utilization are left out: a config has no values to go with them
SCHEDULERS = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x1,
    "SCHED_FLAG_RECLAIM": 0x2,
    "SCHED_FLAG_DL_OVERRUN": 0x4,
    "SCHED_FLAG_KEEP_POLICY": 0x8,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
}

# In the order of their numbers, from 0: include/uapi/linux/ioprio.h
IO_CLASSES = ("IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")

# include/uapi/linux/personality.h
PERSONALITIES = {"LINUX": 0x0, "LINUX32": 0x8}

AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC = 1, 1, 0o2000000
LOCK_SH, LOCK_NB = 1, 4  # flock(2)

# PyDLL: the interpreter lock is not given up, the child of a raw clone has no one to wait for.
libc = ctypes.PyDLL(None, use_errno=True)
_syscall = libc.syscall
_syscall.restype = ctypes.c_long


class clone_args(ctypes.Structure):
    """The argument of clone3(2)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


class sock_fprog(ctypes.Structure):
    """The argument of seccomp(2): how many instructions of 8 bytes, and where they are."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def mount_attr(attr_set: int, attr_clr: int, propagation: int) -> bytes:
    """Return the kernel's `struct mount_attr`, for mount_setattr(2)."""
    return struct.pack("=4Q", attr_set, attr_clr, propagation, 0)


def open_how(flags: int, resolve: int) -> bytes:
    """Return the kernel's `struct open_how`, for openat2(2)."""
    return struct.pack("=3Q", flags, 0, resolve)


def invoke(name: str, *arguments: "int | bytes | ctypes.Array[ctypes.c_char]") -> int:
    """Make one system call now, on the host's side, and return its result.

    Raises OSError with the kernel's errno. For plans, see `harness.runtime.forked`.
    """
    converted = [
        ctypes.c_char_p(value)
        if isinstance(value, bytes)
        else ctypes.c_long(value)
        if isinstance(value, int)
        else value
        for value in arguments
    ]
    result: int = _syscall(ctypes.c_long(number(name)), *converted)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def socketpair() -> tuple[int, int]:
    """Return two connected stream sockets; the standard library's module for them takes 3 ms to load. socketpair(2)."""
    ends = (ctypes.c_int * 2)()
    if libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return ends[0], ends[1]


def explain_errno(code: int) -> str:
    """Return an errno as both its name and its words: `EPERM (Operation not permitted)`."""
    return f"{errno_names.errorcode.get(code, code)} ({os.strerror(code)})"
