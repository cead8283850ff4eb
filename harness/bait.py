"""What canaries are made of: processes, listeners, mounts, cgroups, each gone when its context ends."""

import contextlib
import errno
import os
import select
import signal
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple, NoReturn

from harness.errors import HarnessError, StartError
from harness.runtime.inspect import hierarchies
from harness.runtime.privileges import LINUX_CAPABILITY_VERSION_3
from harness.runtime.syscalls import CLONE, MNT, MS, PR, PR_CAP_AMBIENT_CLEAR_ALL, invoke


class Child:
    """A forked process that has said it is ready; it dies with this one, and is ended and reaped on exit.

    Raises HarnessError, which says what was to be done, where it ends without having said so.
    """

    def __init__(self, main: Callable[[int], None], task: str = "start canary process") -> None:
        receiver, sender = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _run_child(main, sender, parent)
        os.close(sender)
        self.pidfd = os.pidfd_open(self.pid)
        with os.fdopen(receiver, "rb") as pipe:
            word = pipe.read(1)
            if word != b".":
                reason = pipe.read().decode(errors="replace") or "it ended without a word"
                self.__exit__()
                raise HarnessError(f"{task}: {reason}")

    def alive(self) -> bool:
        """Whether it runs; a pidfd never means another process, whoever reaped this one (pidfd_open(2))."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def pending_signals(self) -> list[str]:
        """The signals that were sent to it and are blocked, by name; none once it has ended."""
        if not self.alive():
            return []
        pending = 0
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(("SigPnd:", "ShdPnd:")):
                pending |= int(line.split()[1], 16)
        return [signal.Signals(number).name for number in range(1, 32) if pending >> (number - 1) & 1]

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # the host role is PID 1 and may have reaped it
            os.waitpid(self.pid, 0)
        os.close(self.pidfd)


def _run_child(main: Callable[[int], None], ready: int, parent: int) -> NoReturn:
    """The life of a forked child: nothing of the host role's stays open in it, and it never returns."""
    try:
        invoke("prctl", PR.SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() not in (parent, 0):  # 0 is a parent in another PID namespace
            os._exit(1)  # it died before we asked to be told
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.closerange(3, ready)
        os.closerange(ready + 1, os.sysconf("SC_OPEN_MAX"))
        main(ready)
    except BaseException as failure:
        os.write(ready, f"!{type(failure).__name__}: {failure}".encode(errors="backslashreplace"))
    finally:
        os._exit(1)


def become(uid: int) -> None:
    """Become an ordinary process of a user: no other ids, no capabilities, and dumpable as every program is."""
    if uid != os.getuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    drop_capabilities()
    invoke("prctl", PR.SET_DUMPABLE, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up all capabilities that can be used: capabilities(7)."""
    header = struct.pack("=Ii", LINUX_CAPABILITY_VERSION_3, 0)
    invoke("prctl", PR.CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    invoke("capset", header, bytes(24))


@contextlib.contextmanager
def new_pid_namespace() -> Iterator[None]:
    """A PID namespace for the children that are made as long as the context lasts: pid_namespaces(7)."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        invoke("unshare", CLONE.NEWPID)
        try:
            yield
        finally:
            invoke("setns", own, CLONE.NEWPID)
    finally:
        os.close(own)


def descendants(ancestor: int) -> list[int]:
    """The processes below one that are in the same PID namespace as we: a runtime's, and none of its container's."""
    parents = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            lines = [line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
            status = {name: value.split() for name, _, value in lines}
            if len(status["NSpid"]) == 1:
                parents[pid] = int(status["PPid"][0])
    found: list[int] = []
    generation = [ancestor]
    while generation:
        generation = [pid for pid, parent in parents.items() if parent in generation]
        found += generation
    return found


def wait_for_ever() -> NoReturn:
    """Sleeps until a signal ends the process."""
    while True:
        signal.pause()


def entries_of(directory: Path) -> list[str]:
    """Everything below a directory, as relative paths."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def listen(family: int, address: str | tuple[str, int], kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket that takes what comes and never blocks; OSError if the host has no such family or address."""
    listener = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        listener.bind(address)
        if kind != socket.SOCK_DGRAM:
            listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def visitors(listener: socket.socket) -> Iterator[socket.socket]:
    """Accepts everyone who has connected up to now."""
    while True:
        try:
            visitor, _ = listener.accept()
        except BlockingIOError:
            return
        with visitor:
            yield visitor


def datagrams(receiver: socket.socket) -> Iterator[bytes]:
    """Takes every datagram that has arrived up to now."""
    with contextlib.suppress(BlockingIOError):
        while True:
            yield receiver.recv(4096)


def tmpfs(directory: Path) -> contextlib.AbstractContextManager[None]:
    """A tmpfs of 4 MiB, mounted for as long as the context lasts."""
    return mounted("tmpfs", directory, "mode=755,size=4m")


@contextlib.contextmanager
def mounted(kind: str, directory: Path, options: str = "", flags: MS = MS.NOSUID | MS.NODEV) -> Iterator[None]:
    """A file system, mounted for as long as the context lasts."""
    point = os.fsencode(directory)
    invoke("mount", b"none", point, kind.encode(), flags, options.encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # EINVAL: a container with power over our mounts was here first
            invoke("umount2", point, MNT.DETACH)


def mounts_at(directory: Path) -> list[str]:
    """The mount points at and below a directory."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if Path(point).is_relative_to(directory)]


def processes_of(nonce: str) -> Iterator[int]:
    """The processes of a launch's container, which have its nonce in their arguments."""
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            if nonce in Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
                yield pid


def innermost_pid(pid: int) -> int | None:
    """What a process is called in the pid namespace it lives in (proc_pid_status(5), NSpid)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None


def own_cgroups(controllers: set[str]) -> dict[str, Path]:
    """Where the host role makes cgroups, by controller ("" is the unified hierarchy).

    `controllers` are those that new cgroups must get on version 2. Raises HarnessError if nobody hands them down.
    """
    try:
        found = list(hierarchies(controllers))
    except StartError as failure:
        raise HarnessError(f"place canary: {failure}") from failure
    return {
        name: Path(each.parent)
        for each in found
        for name in ([""] if each.version == 2 else each.controllers or [os.path.basename(each.point)])
    }


@contextlib.contextmanager
def new_cgroup(path: Path) -> Iterator[Path]:
    """A cgroup in one hierarchy, for as long as the context lasts."""
    path.mkdir()
    try:
        yield path
    finally:
        remove_cgroup(path)


def remove_cgroup(path: Path) -> None:
    """Removes a cgroup; does not mind if it is not there, or cannot go because somebody lives in it."""
    with contextlib.suppress(OSError):
        path.rmdir()


class Nest(NamedTuple):
    """A cgroup around a container's, and another one in it for processes of the host's; `unified` on version 2."""

    path: Path
    bystanders: Path
    unified: bool


def nest(undo: contextlib.ExitStack, name: str, controller: str) -> Nest:
    """A nest that one controller gives its limits; `undo` removes it. Raises HarnessError where none can be made."""
    own = own_cgroups({controller})
    unified = controller not in own
    parent = own["" if unified else controller]
    if unified:
        _delegate(parent, controller)
    for hierarchy in own.values():  # a runtime makes the container's path in all, and removes its end only
        undo.callback(remove_cgroup, hierarchy / name)
    path = undo.enter_context(new_cgroup(parent / name))
    if unified:
        _delegate(path, controller)
    return Nest(path, undo.enter_context(new_cgroup(path / "bystanders")), unified)


def _delegate(cgroup: Path, controller: str) -> None:
    """Gives a controller to the children of a unified cgroup (cgroups(7))."""
    try:
        (cgroup / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError as failure:
        raise HarnessError(
            f"write +{controller} to {cgroup}/cgroup.subtree_control: {errno.errorcode.get(failure.errno or 0)} "
            f"({failure.strerror}); a nest needs a delegated cgroup without processes of its own"
        ) from failure


def file_on_disk(smallest: int) -> tuple[Path, tuple[int, int]]:
    """A file of the machine's of so many bytes, and the numbers of the block device that it is on.

    Raises HarnessError where there is none.
    """
    path = next(files_on_disk(smallest))
    return path, _whole_device(path.stat().st_dev)


def files_on_disk(smallest: int) -> Iterator[Path]:
    """The machine's files of so many bytes that are on a block device; HarnessError where there are no more."""
    # Programs and libraries first: all of /usr is a walk of a fifth of a second.
    for parent, _, names in chain.from_iterable(map(os.walk, ("/usr/bin", "/usr/lib", "/usr"))):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(OSError):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and found.st_size >= smallest and _whole_device(found.st_dev):
                    yield path
    raise HarnessError(f"place canary: no file of {smallest} bytes below /usr is on a block device, and unused")


def forget(path: Path, but: int | None = None) -> None:
    """Have the kernel forget what it has of a file in memory, and then read one page of it, at `but`."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # no page but those that are asked for
        if but is not None:
            os.pread(file, 1, but)
    finally:
        os.close(file)


def forgotten(path: Path) -> bool:
    """Have the kernel forget a file, and tell whether it has: what somebody has mapped stays in memory."""
    forget(path)
    with path.open("rb", buffering=0) as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            return True
    return False


def freezer_of(pid: int) -> Path:
    """The cgroup in which a process can be frozen, on either version. Raises HarnessError where there is none."""
    memberships = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for controller, point in (("freezer", "/sys/fs/cgroup/freezer"), ("", "/sys/fs/cgroup")):
        for _, controllers, path in memberships:
            directory = Path(f"{point}{path}")
            if controllers == controller and directory.is_dir():
                return directory
    raise HarnessError(f"find the cgroup of process {pid}: it is in none that has a freezer")


def _whole_device(number: int) -> tuple[int, int]:
    """The disk that a partition is a part of, for only whole ones have rates: sysfs(5). OSError for no block device."""
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    whole = device.parent if (device / "partition").exists() else device
    major, minor = map(int, (whole / "dev").read_text().split(":"))
    return major, minor
