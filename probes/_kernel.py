"""What probes share: system calls by name, attempts that report their errno, children with a deadline.

A probe runs in a container that may have no /proc and no rights, and asks for calls that libc does not wrap.
So calls go straight to syscall(2), and a denied act is a fact, never an exception. Nothing here judges, and
nothing here imports more than a start of a few milliseconds allows (no re, json, ctypes, pathlib, typing).
"""

from __future__ import annotations

import _ctypes
import _json
import errno
import os
import select
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# The module `signal` has all this too, but builds its enums on import, which costs more than most probes do.
SIGKILL = 9
SIGNALS = (  # in the order of their numbers, from 1: signal(7)
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()

# clone(2), unshare(2), setns(2)
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

NAMESPACES = [
    *("cgroup", "ipc", "mnt", "net", "user", "uts"),
    *("pid", "pid_for_children", "time", "time_for_children"),
]

# mount(2), umount2(2)
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

# fsopen(2), fspick(2), open_tree(2), and paths in other calls
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
FSOPEN_CLOEXEC = 1
FSPICK_CLOEXEC = 1
FSCONFIG_SET_STRING = 1
AT_FDCWD = -100

# ptrace(2), kcmp(2), prlimit(2), ioprio_get(2)
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
KCMP_VM = 1
RLIMIT_NOFILE = 7
IOPRIO_WHO_PROCESS = 1
PRIO_PROCESS = 0

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    0: "anonymous",  # of the kernel's own, without a type: an eventfd, a listener
}

MACHINES_OF_32_BITS = {"i686": "x86_64", "armv7l": "aarch64", "armv8l": "aarch64"}

# Numbers below 424 differ: (x86_64, aarch64). From 424 on every architecture has the same.
# fmt: off
SYSCALLS_BY_MACHINE = {
    "acct": (163, 89), "add_key": (248, 217), "bind": (49, 200), "bpf": (321, 280), "capget": (125, 90),
    "capset": (126, 91), "chdir": (80, 49), "chroot": (161, 51), "clock_adjtime": (305, 266),
    "clock_settime": (227, 112), "clone": (56, 220), "connect": (42, 203), "delete_module": (176, 106),
    "exit": (60, 93), "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "fcntl": (72, 25),
    "finit_module": (313, 273), "get_mempolicy": (239, 236), "get_robust_list": (274, 100), "getpgid": (121, 155),
    "getpid": (39, 172),
    "getpriority": (140, 141), "getsid": (124, 156), "getsockopt": (55, 209), "init_module": (175, 105),
    "inotify_init1": (294, 26), "ioctl": (16, 29), "ioprio_get": (252, 31), "ioprio_set": (251, 30),
    "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219),
    "kill": (62, 129), "mbind": (237, 235), "migrate_pages": (256, 238), "mincore": (27, 232), "mlock": (149, 228),
    "mount": (165, 40), "move_pages": (279, 239), "mq_open": (240, 180), "mq_unlink": (241, 181), "msgget": (68, 186),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "openat": (257, 56),
    "perf_event_open": (298, 241), "personality": (135, 92), "pivot_root": (155, 41), "prctl": (157, 167),
    "prlimit64": (302, 261), "process_vm_readv": (310, 270), "ptrace": (101, 117), "quotactl": (179, 60),
    "reboot": (169, 142), "request_key": (249, 218), "rt_sigqueueinfo": (129, 138), "sched_getaffinity": (204, 123),
    "sched_getscheduler": (145, 120), "sched_setattr": (314, 274), "sched_setscheduler": (144, 119),
    "seccomp": (317, 277), "semget": (64, 190), "set_mempolicy": (238, 237), "setgroups": (116, 159),
    "sethostname": (170, 161), "setns": (308, 268), "setpriority": (141, 140), "setresuid": (117, 147),
    "shmctl": (31, 195), "shmget": (29, 194), "socket": (41, 198), "statx": (332, 291), "swapon": (167, 224),
    "sysinfo": (99, 179), "syslog": (103, 116), "tgkill": (234, 131), "timerfd_create": (283, 85),
    "umount2": (166, 39), "uname": (63, 160), "unshare": (272, 97), "userfaultfd": (323, 282), "vhangup": (153, 58),
    "waitid": (247, 95),
}
SYSCALLS = {
    "cachestat": 451, "clone3": 435, "fsconfig": 431, "fsopen": 430, "fspick": 433, "io_uring_enter": 426,
    "io_uring_register": 427, "io_uring_setup": 425, "landlock_create_ruleset": 444, "landlock_restrict_self": 446,
    "listmount": 458, "memfd_secret": 447, "mount_setattr": 442, "move_mount": 429, "open_tree": 428,
    "pidfd_getfd": 438, "pidfd_open": 434, "pidfd_send_signal": 424,
}
# fmt: on

# `import ctypes` costs a quarter of what the whole interpreter does; this is the part of it that is written in C.
_Long = type("Long", (_ctypes._SimpleCData,), {"_type_": "l"})
_Byte: Any = type("Byte", (_ctypes._SimpleCData,), {"_type_": "c"})
_FLAGS = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
_Function = type("Function", (_ctypes.CFuncPtr,), {"_flags_": _FLAGS, "_restype_": _Long})
_syscall = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "syscall"))  # type: ignore[arg-type]


def syscall_number(name: str) -> int:
    """The number of a system call on this machine, or of one that is a number; KeyError if no table above has it."""
    if name.isdigit():
        return int(name)
    if name in SYSCALLS:
        return SYSCALLS[name]
    if machine() not in ("x86_64", "aarch64"):
        raise RuntimeError(f"find number of {name}: no table for {machine()}; add one to probes/_kernel.py")
    return SYSCALLS_BY_MACHINE[name][machine() == "aarch64"]


def machine() -> str:
    """The machine that this program is made for; in the domain LINUX32 uname(2) names a lesser one: personality(2)."""
    name = os.uname().machine
    return MACHINES_OF_32_BITS.get(name, name)


def syscall(name: str, *arguments: int | str | bytes | bytearray | None) -> int:
    """Make a system call and return its result.

    An argument is a number (negative ones and 64-bit ones too), None for a null pointer, str or bytes for
    the address of a string that ends in NUL, or a bytearray for the address of a buffer which the kernel may
    write. Raises OSError with the errno that the kernel gave.
    """
    result = _syscall(_Long(syscall_number(name)), *[_argument(each) for each in arguments])
    if result == -1:
        number = _ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return int(result)


def _argument(value: int | str | bytes | bytearray | None) -> object:
    if isinstance(value, int):
        return _Long(value)  # of which the lower 64 bits are taken
    if isinstance(value, bytearray):
        return (_Byte * len(value)).from_buffer(value)
    return os.fsencode(value) if isinstance(value, str) else value


def errno_name(number: int | None) -> str:
    """The name of an errno (13 is "EACCES"); a number without a name is given as text."""
    return errno.errorcode.get(number or 0, str(number))


def kind(mode: int) -> str:
    """What a file is, by its mode: inode(7)."""
    return KINDS[stat.S_IFMT(mode)]


def device_number(status: os.stat_result) -> str | None:
    """The number of a device as major:minor, "1:3"; None for whatever is none."""
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if is_device else None


def identity(path: str) -> list[int] | str:
    """The device and inode number of what a path leads to, or the name of the errno."""
    try:
        status = os.stat(path)
    except OSError as error:
        return errno_name(error.errno)
    return [status.st_dev, status.st_ino]


def attempt(action: Callable[[], object]) -> dict[str, object]:
    """Do it and report how that went: {"errno": None} on success, {"errno": "EPERM"} on an OSError.

    A descriptor that the action opens stays open; for opening there is attempt_open.
    """
    try:
        action()
    except OSError as error:
        return {"errno": errno_name(error.errno)}
    return {"errno": None}


def attempt_open(path: str, flags: int = os.O_RDONLY, directory: int | None = None) -> dict[str, object]:
    """Open a path without reading or writing, close it, and report as attempt does."""
    return attempt(lambda: os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=directory)))


def attempt_create(path: str) -> dict[str, object]:
    """Create a file, remove it, and report as attempt does."""
    outcome = attempt_open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    if outcome["errno"] is None:
        os.unlink(path)
    return outcome


def attempt_syscall(name: str, *arguments: int | str | bytes | bytearray | None) -> dict[str, object]:
    """Make a system call and report {"errno": None, "result": 0} or {"errno": "EPERM"}."""
    try:
        return {"errno": None, "result": syscall(name, *arguments)}
    except OSError as error:
        return {"errno": errno_name(error.errno)}


def until_refused(action: Callable[[int], object], most: int, done: int = 0) -> dict[str, object]:
    """Do it until the kernel refuses or it is done `most` times: {"count": 3, "errno": "EMFILE"} or None."""
    for number in range(done, most):
        try:
            action(number)
        except OSError as error:
            return {"count": number, "errno": errno_name(error.errno)}
    return {"count": most, "errno": None}


def read(path: str, limit: int = 1 << 20) -> str | dict[str, object]:
    """The text of a file (at most `limit` bytes), or {"errno": "ENOENT"}; odd bytes are written as \\xNN."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        return {"errno": errno_name(error.errno)}
    parts: list[bytes] = []
    try:
        while limit > 0 and (part := os.read(descriptor, min(limit, 65536))):
            parts.append(part)
            limit -= len(part)
    except OSError as error:
        return {"errno": errno_name(error.errno)}
    finally:
        os.close(descriptor)
    return b"".join(parts).decode(errors="backslashreplace")


def write(path: str, text: str) -> None:
    """Write a text to a file that is there, in one piece, as the kernel's own want it; raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read_text(path: str) -> str:
    """The text of a file, or "" where it cannot be read: a process may vanish between list and read."""
    text = read(path)
    return text if isinstance(text, str) else ""


def entries(directory: str) -> list[str]:
    """The names in a directory, sorted; none where it cannot be listed."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def processes() -> list[str]:
    """The numbers of all processes that /proc shows; raises OSError where there is no /proc."""
    return [name for name in os.listdir("/proc") if name.isdecimal()]


def stat_fields(process: str | int) -> list[str]:
    """What /proc/PID/stat says behind the program's name, from the state on: proc_pid_stat(5); empty for nobody."""
    return read_text(f"/proc/{process}/stat").rpartition(")")[2].split()


def parse_status(text: str) -> dict[str, str]:
    """The lines of /proc/PID/status by their names: proc_pid_status(5)."""
    lines = [line.partition(":") for line in text.splitlines()]
    return {name: value.strip() for name, _, value in lines}


def mountinfo(path: str = "/proc/self/mountinfo") -> list[dict[str, object]]:
    """The mounts of a process, one dict each, from proc_pid_mountinfo(5); empty where it cannot be read.

    Keys: id, parent (int); device ("major:minor"); root, point, type, source (str, octal escapes undone);
    options, optional (["shared:1"]), super_options (list[str]).
    """
    return [_mount(line) for line in read_text(path).splitlines()]


def mount_points(*types: str) -> list[str]:
    """Where file systems of these types are mounted, or all of them, sorted, each place once."""
    return sorted({str(mount["point"]) for mount in mountinfo() if not types or mount["type"] in types})


def _mount(line: str) -> dict[str, object]:
    # A lone "-" ends the optional fields; spaces within a field are escaped.
    fields = line.split(" ")
    end = fields.index("-", 6)
    return {
        "id": int(fields[0]),
        "parent": int(fields[1]),
        "device": fields[2],
        "root": _unescape(fields[3]),
        "point": _unescape(fields[4]),
        "options": fields[5].split(","),
        "optional": fields[6:end],
        "type": fields[end + 1],
        "source": _unescape(fields[end + 2]),
        "super_options": [_unescape(option) for option in fields[end + 3].split(",")],
    }


def _unescape(text: str) -> str:
    r"""Undo the kernel's \040 for a space, \011 tab, \012 newline, \134 backslash, \043 hash."""
    if "\\" not in text:
        return text
    head, *tails = text.split("\\")
    return head + "".join(
        chr(int(tail[:3], 8)) + tail[3:] if tail[:3] in ("040", "011", "012", "134", "043") else "\\" + tail
        for tail in tails
    )


def namespaces(process: str = "self") -> dict[str, object]:
    """The inode of every entry of /proc/PID/ns, None where it cannot be read: namespaces(7)."""
    return {name: _inode(f"/proc/{process}/ns/{name}") for name in NAMESPACES}


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def enter_user_namespace(uid: int, gid: int, others: int = 0) -> None:
    """Enter a user namespace in which one's own ids are these, and new ones of `others`, by flags; raises OSError."""
    outside, group_outside = os.getuid(), os.getgid()
    syscall("unshare", CLONE_NEWUSER | others)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/gid_map", f"{gid} {group_outside} 1")
    write("/proc/self/uid_map", f"{uid} {outside} 1")


def outcome(action: Callable[[], dict[str, object]]) -> str:
    """How an attempt ends in a child of its own: "done", the name of its errno, or of the signal that ended it."""
    facts = in_child(action)
    return str(facts.get("ended_by") or facts.get("errno") or "done")


def in_child(action: Callable[[], dict[str, object]], deadline: float = 5.0) -> dict[str, object]:
    """Run an action in a forked child and return its facts, for acts that change or may end the process.

    The answer is the action's dict; {"errno": "EPERM"} if it raised OSError; {"ended_by": "SIGKILL"} if a
    signal ended the child; {"ended_by": "deadline"} if it was not done after `deadline` seconds (it is
    killed then); {"exit": 3} if it left without an answer. Another exception of the action is raised here as
    RuntimeError.
    """
    end = time.monotonic() + deadline
    report, report_end = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            try:
                os.close(report)
                write_all(report_end, encode(_outcome(action)).encode() + b"\n")
            finally:
                os._exit(0)
        try:
            line = read_line(report, child, end)
            late = line is None and not has_ended(child)
        finally:
            os.kill(child, SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(report)
        os.close(report_end)
    if line is not None:
        outcome = decode(line.decode())
        if "error" in outcome:
            raise RuntimeError(outcome["error"])
        return dict(outcome["facts"])
    if late:
        return {"ended_by": "deadline"}
    return {"ended_by": signal_name(-status)} if status < 0 else {"exit": status}


def fill(descriptors: Iterable[int], deadline: float = 10.0) -> dict[str, object]:
    """Have a child write one MiB to each of the descriptors, which it may make on the way; report how far it came.

    That is how many bytes were `written`, and what stopped it, `errno`, `ended_by` or neither. What is written belongs
    to no process: without memory of its own the writer would not be the likeliest victim of the OOM killer, nor would
    its end leave the others anything to live on.
    """
    import mmap

    mebibyte, ballast = 1 << 20, 8 << 20
    progress = mmap.mmap(-1, 8)  # shared, so it outlives the child

    def write_all_of_it() -> dict[str, object]:
        memory = mmap.mmap(-1, ballast, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for page in range(0, ballast, mmap.PAGESIZE):
            memory[page] = 1
        block = bytes(mebibyte)
        written = 0
        for descriptor in descriptors:
            written += os.write(descriptor, block)
            progress[:8] = written.to_bytes(8, "little")
        return {}

    outcome = in_child(write_all_of_it, deadline)
    written = int.from_bytes(progress[:8], "little")
    return {"written": written, "ended_by": outcome.get("ended_by"), "errno": outcome.get("errno")}


def _outcome(action: Callable[[], dict[str, object]]) -> dict[str, object]:
    try:
        return {"facts": action()}
    except OSError as error:
        return {"facts": {"errno": errno_name(error.errno)}}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def read_line(descriptor: int, child: int, end: float, limit: int = 1 << 18) -> bytes | None:
    """Read one line that a child writes, without its newline; None if none came.

    Gives up at the time `end` (of time.monotonic) and when the child has ended. End of file is no sign of
    that, as a grandchild may hold the pipe open for ever: the caller keeps the writing end open, so that
    there is none. Raises ValueError for a line of more than `limit` bytes.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    line = bytearray()
    while not line.endswith(b"\n"):
        ended = has_ended(child)
        if poll.poll(0 if ended else 5):
            line += os.read(descriptor, 65536)
            if len(line) > limit:
                raise ValueError(f"a line of more than {limit} bytes")
        elif ended or time.monotonic() > end:
            return None
    return bytes(line[:-1])


def has_ended(child: int) -> bool:
    """Whether a child is a zombie; it stays one, so that its pid and process group keep their meaning."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of the data; raises OSError (EPIPE: nobody reads any more)."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def signal_name(number: int) -> str:
    """The name of a signal: 9 is "SIGKILL"."""
    return f"SIG{SIGNALS[number - 1]}" if 0 < number <= len(SIGNALS) else f"signal {number}"


class _Context:
    """What json.JSONDecoder would give to the scanner in C."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _refuse(value: object) -> object:
    raise TypeError(f"a fact of type {type(value).__name__}, which is no JSON value")


# `import json` loads `re` and costs as much as the interpreter itself; this is the part of it written in C.
_scan = _json.make_scanner(_Context)  # type: ignore[arg-type]
_quote = _json.encode_basestring_ascii
_encoder = _json.make_encoder(None, _refuse, _quote, None, ": ", ", ", False, False, False)


def encode(value: object) -> str:
    """JSON text of a value, one line of ASCII; TypeError or ValueError for what JSON cannot say."""
    return "".join(_encoder(value, 0))


def decode(text: str) -> dict[str, Any]:
    """The object that a JSON text holds; ValueError if it holds something else or something more."""
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError, ImportError):  # the latter two for want of json.JSONDecodeError
        raise ValueError(f"no JSON: {text[:40]!r}") from None
    if not isinstance(value, dict) or text[end:].strip():
        raise ValueError(f"not one JSON object: {text[:40]!r}")
    return value
