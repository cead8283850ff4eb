"""What starts are held against when two runs are compared: a fixed list of calls like those of a start.

Between two runs a machine changes by more than what is to be found. What changes a start changes this list as much, for
it asks the kernel for the same kinds of work in the same numbers; but our own code does not: neither config nor plan
has a part in it, only the machine instructions that walk the list. It makes no container that anybody should use. A
change of the list makes stored runs useless.
"""

import contextlib
import ctypes
import errno
import os
import signal
import struct
import time
from collections.abc import Iterator

from harness import elf
from harness.bench.contenders import Contender, Place
from harness.bench.series import Round
from harness.errors import HarnessError
from harness.runtime import stub
from harness.runtime.step import Call, Packed, Program, Saved, Step, Strings
from harness.runtime.syscalls import (
    AT,
    AT_FDCWD,
    CLONE,
    FSCONFIG,
    IFF_UP,
    MNT,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    PR,
    S_IFCHR,
    SECCOMP,
    SIOCSIFFLAGS,
    clone_args,
    explain_errno,
    mount_attr,
)
from harness.runtime.table import Table

NAMESPACES = CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWPID | CLONE.NEWNET
STACK = 4096  # bytes
PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/driver")
MASKS = ("/proc/interrupts", "/proc/keys", "/proc/timer_list", "/proc/acpi", "/proc/scsi", "/sys/firmware")
CAPABILITIES = range(1, 38)
SIGNALS = [number for number in range(1, 65) if number not in (signal.SIGKILL, signal.SIGSTOP)]
INSTRUCTIONS = 960  # of a filter of system calls


class Yardstick(Contender):
    """A fixed list of calls like those of a start."""

    name = "yardstick"
    what = "no container: calls like those of a start, which stay the same when our own runtime changes"

    def __init__(self, place: Place) -> None:
        self._root = str(place.root(self.name))

    def absent(self) -> str | None:
        """Return why its calls cannot be made here, or None."""
        if os.geteuid() != 0:
            return "it takes root, for nobody writes id maps for it"
        return None if stub.function() else "no machine instructions can be made here to walk its list"

    def version(self) -> str:
        """Return the kernel's, which does the work."""
        return os.uname().release

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Lay out the calls."""
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        try:
            self._table = Table([Step(self.name, self.what, calls(self._root, writer))])
            stack = ctypes.create_string_buffer(STACK)
            arguments = clone_args(
                flags=NAMESPACES | CLONE.CLEAR_SIGHAND | CLONE.VM | CLONE.VFORK,
                exit_signal=signal.SIGCHLD,
                stack=ctypes.addressof(stack),
                stack_size=STACK,
            )
            self._context = stub.Context(self._table.words, arguments)
            yield
        finally:
            os.close(self._reader)
            os.close(writer)

    def start(self) -> Round:
        """Make the calls once. Raises HarnessError."""
        requested = time.monotonic_ns()
        pid, failed = self._context.walk()
        if pid < 0:
            raise HarnessError(f"clone3({NAMESPACES}): {explain_errno(-pid)}")
        os.waitpid(pid, 0)
        ended = time.monotonic_ns()
        if failed:
            found = self._table.failed(failed)
            raise HarnessError(f"{found.call}: {explain_errno(found.number)}")
        return Round(elf.nanoseconds(os.read(self._reader, 100)) - requested, ended - requested)


def calls(root: str, output: int) -> tuple[Call, ...]:
    """Return the list, which ends in the clock of a root."""
    device = f"{root}/dev"
    up = Packed(struct.pack("16sh22x", b"lo", IFF_UP), "lo is up")
    return (
        Call("unshare", (CLONE.NEWCGROUP,)),
        Call("setsid", ()),
        *(Call("rt_sigaction", (number, Packed(bytes(32), "SIG_DFL"), None, 8)) for number in SIGNALS),
        Call("sethostname", ("yardstick", 9)),
        Call("socket", (2, 2, 0), saves="socket"),
        Call("ioctl", (Saved("socket"), SIOCSIFFLAGS, up)),
        Call("close", (Saved("socket"),)),
        Call("mount", (None, "/", None, MS.REC | MS.PRIVATE, None)),
        Call("mount", (root, root, None, MS.REC | MS.BIND, None)),
        *_mounted("proc", f"{root}/proc"),
        *_mounted("tmpfs", device),
        *(Call("mkdirat", (AT_FDCWD, f"{device}/{name}", 0o755)) for name in ("pts", "shm", "mqueue")),
        *_mounted("devpts", f"{device}/pts"),
        *_mounted("tmpfs", f"{device}/shm"),
        *_mounted("mqueue", f"{device}/mqueue"),
        *_mounted("sysfs", f"{root}/sys"),
        Call("chdir", (root,)),
        Call("pivot_root", (".", ".")),
        Call("umount2", (".", MNT.DETACH)),
        Call("chdir", ("/dev",)),
        *(Call("mknodat", (AT_FDCWD, f"null{number}", S_IFCHR | 0o666, os.makedev(1, 3))) for number in range(6)),
        *(Call("symlinkat", ("/proc/self/fd", AT_FDCWD, f"fd{number}")) for number in range(5)),
        *(call for path in PATHS for call in _protected(path)),
        *(call for path in MASKS for call in _masked(path)),
        Call("mount_setattr", (AT_FDCWD, "/", 0, _attributes(MOUNT_ATTR.RDONLY), 32)),
        *(Call("prctl", (PR.CAPBSET_DROP, number, 0, 0, 0)) for number in CAPABILITIES),
        Call("dup3", (output, 1, 0)),
        Call("close_range", (3, 0xFFFFFFFF, 0)),
        Call("seccomp", (SECCOMP.SET_MODE_FILTER, 0, _filter())),
        Call("execve", ("/clock", Strings((b"/clock",)), Strings(()))),
    )


def _mounted(kind: str, path: str) -> tuple[Call, ...]:
    """Return a file system of its own: fsopen(2), fsmount(2), move_mount(2)."""
    context, mount = Saved("context"), Saved("mount")
    return (
        Call("fsopen", (kind, 0), saves=context.name),
        Call("fsconfig", (context, FSCONFIG.SET_STRING, "source", kind, 0)),
        Call("fsconfig", (context, FSCONFIG.CMD_CREATE, None, None, 0)),
        Call("fsmount", (context, 0, 0), saves=mount.name),
        Call("close", (context,)),
        Call("mount_setattr", (mount, "", AT.EMPTY_PATH, _attributes(MOUNT_ATTR.NOSUID), 32)),
        Call("move_mount", (mount, "", AT_FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH)),
        Call("close", (mount,)),
    )


def _protected(path: str) -> tuple[Call, ...]:
    """Return a read-only mount of a path on itself: open_tree(2)."""
    mount = Saved("mount")
    return (
        Call("open_tree", (AT_FDCWD, path, OPEN_TREE.CLONE), saves=mount.name),
        Call("mount_setattr", (mount, "", AT.EMPTY_PATH, _attributes(MOUNT_ATTR.RDONLY), 32)),
        Call("move_mount", (mount, "", AT_FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH)),
        Call("close", (mount,)),
    )


def _masked(path: str) -> tuple[Call, ...]:
    """Return what hides a file or a directory, whichever it is: mount(2)."""
    wrong = (errno.ENOENT, errno.ENOTDIR)
    return (
        Call("mount", ("null0", path, None, MS.BIND, None), wrong),
        Call("mount", ("tmpfs", path, "tmpfs", MS.RDONLY, "size=0k"), wrong),
    )


def _attributes(wanted: MOUNT_ATTR) -> Packed:
    return Packed(mount_attr(wanted, 0, 0), str(wanted))


def _filter() -> Program:
    """Return a filter that allows everything, and that the kernel has to compile: seccomp(2)."""
    jump, load, allow = (5, 0, 0, INSTRUCTIONS), (0x20, 0, 0, 0), (6, 0, 0, 0x7FFF0000)
    instructions = (jump, *[load] * INSTRUCTIONS, allow)
    return Program(b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions))
