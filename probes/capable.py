"""One harmless act for each capability that only this capability allows, and which of them the kernel lets pass.

No act changes anything that outlives it. It is done in a child, on a file, a segment or a socket of its own; or its
arguments are no good (a wrong magic number, a file that is not there), which the kernel finds out behind the test for
the capability; or it writes back what has just been read. It takes an ordinary user, for root is allowed much as the
owner of files. AUDIT_WRITE, AUDIT_CONTROL and MAC_* have no act, because theirs would write the log or the policy of
the whole machine; NET_BROADCAST and BLOCK_SUSPEND, because the kernel never asks for the one, nor tells of the other.
"""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds
import ctypes
import errno
import fcntl
import os
import resource
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = "/dev/shm"
FOREIGN = "/etc/foreign"  # a file of root's that everybody may read
OTHER = 65534  # any id but our own
REFUSED = ("EPERM", "EACCES")
# The kernel was built, or is set, without it. ENOTSUP is what Python calls EOPNOTSUPP.
ABSENT = ("ENOSYS", "ENOTTY", "ENOTSUP", "EPROTONOSUPPORT")
NOWHERE = 1  # an address at which there is nothing

PR_SET_DUMPABLE, PR_CAPBSET_DROP = 4, 24
FS_IOC_SETFLAGS, FS_NODUMP_FL, FS_IMMUTABLE_FL = 0x40086602, 0x40, 0x10
FIBMAP = 1
F_SETLEASE, F_RDLCK = 1024, 0
SIOCGIFFLAGS, SIOCSIFFLAGS, IPPROTO_ICMP = 0x8913, 0x8914, 1
NETLINK_AUDIT, AUDIT_NLGRP_READLOG = 9, 1
IPC_RMID, IPC_CREAT, IPC_STAT = 0, 0o1000, 2
SYSLOG_ACTION_SIZE_UNREAD = 9
CLOCK_REALTIME, CLOCK_REALTIME_ALARM, ADJ_FREQUENCY = 0, 8, 2
PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE, PERF_COUNT_SW_DUMMY = 1, 64, 9
BPF_BTF_LOAD = 18
VFS_CAP_REVISION_2 = 0x02000000
CAP_CHOWN = 0


def observe(bait: int) -> dict[str, object]:
    """Report `able`, the capabilities whose act passed, `refused`, the errnos of the others, and which are `absent`.

    `bait` is a process of another user, which is sent the signal 0.
    """
    acts = {**ACTS, "KILL": lambda: os.kill(bait, 0)}
    said = {f"CAP_{name}": _said(act) for name, act in sorted(acts.items())}
    return {
        "able": [name for name, outcome in said.items() if outcome not in (*REFUSED, *ABSENT)],
        "refused": {name: outcome for name, outcome in said.items() if outcome in REFUSED},
        "absent": [name for name, outcome in said.items() if outcome in ABSENT],
    }


def _said(act: Callable[[], object]) -> object:
    return _kernel.in_child(lambda: _kernel.attempt(act)).get("errno", "EINTR")


class _File:
    """A file of our own, with a name for as long as it is needed."""

    def __init__(self, mode: int = 0o600) -> None:
        self.path = f"{PLACE}/isoproof-{os.getpid()}"
        self.mode = mode

    def __enter__(self) -> str:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.mode))
        return self.path

    def __exit__(self, *_: object) -> None:
        os.unlink(self.path)


def _chown() -> None:
    with _File() as path:
        descriptor = os.open(path, os.O_RDONLY)
    os.fchown(descriptor, OTHER, -1)  # without a name, for it could not be taken away from someone else's file


def _dac_override() -> None:
    with _File(0) as path:
        os.close(os.open(path, os.O_WRONLY))


def _dac_read_search() -> None:
    """Open a file by its handle, which no directory protects."""
    with _File() as path:
        handle, mount = bytearray(8 + 128), bytearray(4)  # struct file_handle: size, type, and the handle itself
        struct.pack_into("I", handle, 0, 128)
        _kernel.syscall("name_to_handle_at", _kernel.AT_FDCWD, path, handle, mount, 0)
        _kernel.syscall("open_by_handle_at", os.open(path, os.O_RDONLY), handle, os.O_RDONLY)


def _fsetid() -> None:
    """Write into a set-user-ID file, which is then none any more: inode(7)."""
    with _File(0o700) as path:
        os.chmod(path, 0o4700)
        descriptor = os.open(path, os.O_WRONLY)
        os.write(descriptor, b".")
        if not os.fstat(descriptor).st_mode & 0o4000:
            raise OSError(errno.EPERM, "the bit has been taken away")


def _linux_immutable() -> None:
    with _File() as path:
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("q", FS_NODUMP_FL))  # ENOTTY: these files have no flags
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("q", FS_IMMUTABLE_FL))
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("q", 0))


def _net_admin() -> None:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flags = fcntl.ioctl(channel.fileno(), SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
    fcntl.ioctl(channel.fileno(), SIOCSIFFLAGS, flags)


def _ipc_lock() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]))
    _kernel.syscall("mlock", bytearray(1), 1)


def _ipc_owner() -> None:
    segment = _kernel.syscall("shmget", 0, 1, IPC_CREAT)  # which nobody may read
    try:
        _kernel.syscall("shmctl", segment, IPC_STAT, bytearray(256))
    finally:
        _kernel.syscall("shmctl", segment, IPC_RMID, None)


def _sys_module() -> None:
    _unless(_setting("modules_disabled") == 1)
    _kernel.syscall("init_module", None, 0, "")


def _sys_rawio() -> None:
    with _File() as path:
        _kernel.syscall("ioctl", os.open(path, os.O_RDONLY), FIBMAP, NOWHERE)


def _sys_ptrace() -> None:
    """Seize a child that, like its parent, is not dumpable, so that having the same user is not enough: ptrace(2)."""
    _kernel.syscall("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    reader, _writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        os._exit(0)
    try:
        _kernel.syscall("ptrace", _kernel.PTRACE_SEIZE, child, None, None)
    finally:
        os.kill(child, _kernel.SIGKILL)


def _sys_resource() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    _kernel.syscall("prlimit64", 0, _kernel.RLIMIT_NOFILE, struct.pack("QQ", hard, hard + 1), None)


def _sys_time() -> None:
    now = bytearray(208)  # struct timex: modes at 0, frequency at 16
    _kernel.syscall("clock_adjtime", CLOCK_REALTIME, now)
    same = bytearray(len(now))
    struct.pack_into("I12xq", same, 0, ADJ_FREQUENCY, struct.unpack_from("q", now, 16)[0])
    _kernel.syscall("clock_adjtime", CLOCK_REALTIME, same)


def _sys_tty_config() -> None:
    os.setsid()  # in a session without a terminal there is nothing to hang up
    _kernel.syscall("vhangup")


def _mknod() -> None:
    path = f"{PLACE}/isoproof-{os.getpid()}"
    os.mknod(path, 0o020600, os.makedev(1, 3))
    os.unlink(path)


def _setfcap() -> None:
    with _File() as path:
        os.setxattr(path, "security.capability", struct.pack("<5I", VFS_CAP_REVISION_2, 1 << CAP_CHOWN, 0, 0, 0))


def _audit_read() -> None:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
    channel.bind((0, AUDIT_NLGRP_READLOG))


def _perfmon() -> None:
    # Everybody may, or, above 2, which is a distribution's own, only who has CAP_SYS_ADMIN.
    _unless(_setting("perf_event_paranoid") not in (1, 2))
    attributes = struct.pack("IIQ", PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE, PERF_COUNT_SW_DUMMY)
    _kernel.syscall("perf_event_open", attributes.ljust(PERF_ATTR_SIZE, b"\0"), -1, 0, -1, 0)  # all that CPU 0 does


def _checkpoint_restore() -> None:
    """Ask for a child with our own process number, which is taken (EEXIST)."""
    number = ctypes.c_int(os.getpid())
    arguments = struct.pack("8Q", *bytes(8)) + struct.pack("3Q", ctypes.addressof(number), 1, 0)  # struct clone_args
    _kernel.syscall("clone3", arguments, len(arguments))


def _setting(name: str) -> int:
    return int(_kernel.read_text(f"/proc/sys/kernel/{name}") or 0)


def _unless(is_set: bool) -> None:
    """Leave an act out where a setting of the machine decides, whatever one's capabilities."""
    if is_set:
        raise OSError(errno.EOPNOTSUPP, "not decided by the capability")


ACTS: dict[str, Callable[[], object]] = {
    "CHOWN": _chown,
    "DAC_OVERRIDE": _dac_override,
    "DAC_READ_SEARCH": _dac_read_search,
    "FOWNER": lambda: os.open(FOREIGN, os.O_RDONLY | os.O_NOATIME),
    "FSETID": _fsetid,
    "SETGID": lambda: os.setegid(OTHER),
    "SETUID": lambda: os.seteuid(OTHER),  # but not the real one, or our parent could not end us
    "SETPCAP": lambda: _kernel.syscall("prctl", PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0),
    "LINUX_IMMUTABLE": _linux_immutable,
    "NET_BIND_SERVICE": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", 81)),
    "NET_ADMIN": _net_admin,
    "NET_RAW": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_ICMP),
    "IPC_LOCK": _ipc_lock,
    "IPC_OWNER": _ipc_owner,
    "SYS_MODULE": _sys_module,
    "SYS_RAWIO": _sys_rawio,
    "SYS_CHROOT": lambda: os.chroot("."),
    "SYS_PTRACE": _sys_ptrace,
    "SYS_PACCT": lambda: _kernel.syscall("acct", "/nonexistent"),
    "SYS_ADMIN": lambda: _kernel.syscall("unshare", _kernel.CLONE_NEWUTS),
    "SYS_BOOT": lambda: _kernel.syscall("reboot", 0, 0, 0, None),  # neither of the magic numbers
    "SYS_NICE": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "SYS_RESOURCE": _sys_resource,
    "SYS_TIME": _sys_time,
    "SYS_TTY_CONFIG": _sys_tty_config,
    "MKNOD": _mknod,
    "LEASE": lambda: fcntl.fcntl(os.open(FOREIGN, os.O_RDONLY), F_SETLEASE, F_RDLCK),
    "SETFCAP": _setfcap,
    "SYSLOG": lambda: _kernel.syscall("syslog", SYSLOG_ACTION_SIZE_UNREAD, None, 0),
    "WAKE_ALARM": lambda: _kernel.syscall("timerfd_create", CLOCK_REALTIME_ALARM, 0),
    "AUDIT_READ": _audit_read,
    "PERFMON": _perfmon,
    "BPF": lambda: _kernel.syscall("bpf", BPF_BTF_LOAD, bytes(64), 64),
    "CHECKPOINT_RESTORE": _checkpoint_restore,
}
