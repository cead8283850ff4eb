"""`isoproof run` of a bundle that has been run before: what came of it then is stored, and only has to be replayed.

To read a config, to plan, and to lay the plan out takes modules that load thirty times as long as a container takes to
start. So the first run leaves an image of its tables (`harness.runtime.stored`), and this module, which imports next to
nothing, has it walked by the same machine instructions. The image knows all that it depends on, and is used where that
is as it was. Whatever is not, and whatever goes wrong, is left to the long way, which says what it is: `run` returns
None then, and nothing has been done.
"""

import _imp
import fcntl
import marshal
import os
import stat
import sys
import time
from _ctypes import FUNCFLAG_CDECL, CFuncPtr, _SimpleCData, dlopen, dlsym

from harness.runtime import folders
from harness.runtime.signals import PassedOn, exit_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Image = dict[str, Any]

FORMAT = 1
LARGEST = 1 << 20  # bytes of a config.json; one that is larger takes its time anyway
PROC_SUPER_MAGIC, PROC_ROOT_INO = 0x9FA0, 1
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_PRIVATE, MAP_ANONYMOUS = 2, 0x20
FAILED = 3  # in which word of a context the instructions leave the entry that has failed
SCHED_OTHER, SCHED_BATCH = 0, 3
STREAMS = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR)  # others are not handed on: harness.runtime.relay
PATIENCE = 0.05  # seconds in which the kernel lets go of a cgroup that nobody is in
PAUSE = 0.001
GLANCE = 1000  # milliseconds after which it may be that version 1's freezer holds up the end


class Long(_SimpleCData):  # type: ignore[type-arg]
    """A number as wide as an address."""

    _type_ = "l"


class Char(_SimpleCData):  # type: ignore[type-arg]
    """A byte."""

    _type_ = "c"


class Function(CFuncPtr):
    """What is at an address."""

    _flags_ = FUNCFLAG_CDECL
    _restype_ = Long


def run(words: "list[str]") -> "int | None":
    """Run a bundle, given as to `isoproof run`; return its exit status, or None where it is to be run the long way."""
    asked = _asked(words)
    if asked is None:
        return None
    try:
        image = _load(*asked)
        if image is None or not _is_as_it_was(image):
            return None
        start = Start(image)
    except (OSError, ValueError, EOFError, TypeError, KeyError):  # what marshal and an image that is not whole raise
        return None
    return start.run()


def _asked(words: "list[str]") -> "tuple[str, list[str]] | None":
    """Return the bundle, and the command that replaces its own; None where more is asked for."""
    if len(words) < 2 or words[0] != "run" or words[1].startswith("-"):
        return None
    if len(words) > 2 and words[2] != "--":
        return None
    return words[1], words[3:]


def read(path: str, largest: int = LARGEST) -> bytes:
    """Return what is in a file. Raises OSError for one that is no file, or larger."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        content = b""
        while more := os.read(descriptor, 1 << 16):
            content += more
            if len(content) > largest:
                raise OSError(f"{path} is too large")
        return content
    finally:
        os.close(descriptor)


def facts(bundle: str, command: "list[str]") -> "tuple[object, ...]":
    """Return all that decides about a plan and is known without reading the config. Raises OSError."""
    system = os.uname()
    with os.scandir(os.path.dirname(__file__)) as entries:
        modules = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py")]
    return (
        FORMAT,
        tuple(sorted((name, found.st_mtime_ns, found.st_size) for name, found in modules)),
        (system.release, system.version, system.machine),
        read("/proc/sys/kernel/random/boot_id"),
        (os.geteuid(), os.getegid()),
        os.path.abspath(bundle),
        tuple(command),
        read(os.path.join(bundle, "config.json")),
    )


def hierarchies() -> "tuple[bytes, ...]":
    """Return where the cgroup hierarchies are, and where this process is in them. Raises OSError."""
    lines = read("/proc/self/mountinfo").splitlines()
    return read("/proc/self/cgroup"), *(line for line in lines if b" - cgroup" in line)


def file_name(bundle: str, command: "list[str]") -> str:
    """Return the name under which the image of a bundle and a command is stored."""
    asked = "\0".join([os.path.abspath(bundle), *command])
    return f"plan-{_imp.source_hash(FORMAT, os.fsencode(asked)).hex()}"


def identity(path: str) -> "tuple[int, int] | None":
    """Return what tells a file from every other, None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_directory(path: str) -> "bool | None":
    """Return whether a path leads to a directory, None where it leads to nothing."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return None


def text(path: str) -> bytes:
    """Return what is in a file, nothing where there is none."""
    try:
        return read(path)
    except OSError:
        return b""


def _load(bundle: str, command: "list[str]") -> "Image | None":
    """Return the image that is stored for a bundle, if the facts are still the same."""
    name = file_name(bundle, command)
    for folder in folders.folders():
        path = os.path.join(folder, name)
        if folders.is_ours(folder) and os.path.exists(path):
            image: Image = marshal.loads(read(path, 16 * LARGEST))
            return image if image["facts"] == facts(bundle, command) else None
    return None


def _is_as_it_was(image: "Image") -> bool:
    """Return whether what else the plan was made for is as it was, and the streams are such as can be handed on."""
    return (
        identity(image["root"]) == image["root_identity"]
        and os.stat("/proc").st_ino == PROC_ROOT_INO
        and all(is_directory(path) is kind for path, kind in image["sources"])
        and (not image["hierarchies"] or hierarchies() == image["hierarchies"])
        and all(text(path) == content for path, content in image["texts"])
        and stat.S_IFMT(os.fstat(0).st_mode) in STREAMS
    )


class Start:
    """One start of an image, in memory of its own; `at` says where in the image everything is."""

    def __init__(self, image: "Image") -> None:
        self.image = image
        self.at: dict[str, Any] = image["at"]
        self.name = _fresh_name(image["name"])
        memory = self._renamed(image["memory"])
        self._base = _new_memory(memory, PROT_READ | PROT_WRITE)
        block = memoryview((Char * len(memory)).from_address(self._base)).cast("B")
        self._words, self._ints = block.cast("q"), block.cast("i")
        for at in memoryview(image["relocations"]).cast("I"):
            self._words[at // 8] += self._base
        self._function = Function(_new_memory(image["code"], PROT_READ | PROT_EXEC))
        self._function.argtypes = (Long,)
        self.streams, self._begin_copying, self._end_copying = _streams()

    def run(self) -> "int | None":
        """Run it to its end; return its exit status, or None where it could not be started."""
        with PassedOn() as passed_on:
            record = None
            try:
                if self._walk("ready") or self._words[self.at["proc"] // 8] != PROC_SUPER_MAGIC:
                    return None
                if self.image["record"]:
                    record = folders.create(f"{self.name.decode()}.json", self._renamed(self.image["record"]))
                pid = None if self._walk("before") else self._clone()
                if pid is None:
                    return None
                passed_on.to(self._descriptor("pidfd"))
                self._begin_copying()
                return self._wait(pid)
            finally:
                passed_on.keep()
                self._undo(record)
                self._end_copying()

    def _renamed(self, content: bytes) -> bytes:
        """Return what was made for a container of another name for this one."""
        name: bytes = self.image["name"]
        return content.replace(name, self.name) if name else content

    def _descriptor(self, name: str) -> int:
        return int(self._ints[self.at[name] // 4])

    def _walk(self, name: str) -> int:
        """Have a table walked by this process; return where the call that has failed is, or 0."""
        self._words[self.at[name] // 8 + FAILED] = 0
        self._function(self._base + self.at[name])
        return int(self._words[self.at[name] // 8 + FAILED])

    def _clone(self) -> "int | None":
        """Clone the child; return its process id when it has become the program, or else None."""
        for places, stream in zip(self.at["streams"], self.streams, strict=True):
            for at in places:
                self._ints[at // 4] = stream
        for places, end in zip(self.at["channel"], ("near_end", "far_end"), strict=True):
            for at in places:
                self._ints[at // 4] = self._descriptor(end)
        if "into" in self.at:
            self._words[self.at["cgroup"] // 8] = self._descriptor("into")
        ordinary = os.sched_getscheduler(0) == SCHED_OTHER
        if ordinary:  # else this process would run, as soon as it is awake again, before the program
            os.sched_setscheduler(0, SCHED_BATCH, os.sched_param(0))
        pid: int = self._function(self._base + self.at["child"])
        if ordinary:
            os.sched_setscheduler(0, SCHED_OTHER, os.sched_param(0))
        if pid > 0 and self._words[self.at["child"] // 8 + FAILED]:
            os.waitpid(pid, 0)
            return None
        return pid if pid > 0 else None

    def _wait(self, pid: int) -> int:
        """Wait for the program; return its exit status."""
        if identity(f"/proc/{pid}/exe") == identity("/proc/self/exe"):
            from harness.runtime import executable

            if executable.is_our_own(pid):
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                print(f"isoproof: {executable.REFUSED}", file=sys.stderr)
                return 126
        if self.image["freezers"]:
            import select

            poll = select.poll()
            poll.register(self._descriptor("pidfd"), select.POLLIN)
            if not poll.poll(GLANCE):
                from pathlib import Path

                from harness.runtime import supervise

                cgroups = [Path(os.fsdecode(self._renamed(path))) for path in self.image["freezers"]]
                return supervise.wait(pid, self._descriptor("pidfd"), None, cgroups)
        return exit_status(os.waitpid(pid, 0)[1])

    def _undo(self, record: "tuple[str, int] | None") -> None:
        """Remove the cgroups, and what others have left in the root for the last who lives on it."""
        end = time.monotonic() + PATIENCE
        while (left := self._walk("undo")) and time.monotonic() < end:
            time.sleep(PAUSE)
        if left:
            from harness.runtime import leftovers

            leftovers.take_back(self._renamed(self.image["record"]))
        if record:
            os.unlink(record[0])
            os.close(record[1])
        lock, root = self._descriptor("lock"), self._descriptor("root")
        if lock >= 0 and _take(lock) and folders.find(folders.record_of(root)):
            from harness.runtime import leftovers

            leftovers.remove_places(lock, root, self.image["rootfs"], [])
        for name in self.image["descriptors"]:
            if self._descriptor(name) >= 0:
                os.close(self._descriptor(name))


def _fresh_name(name: bytes) -> bytes:
    """Return a name for a container, as long as another."""
    begin = f"isoproof-{os.getpid()}-"
    return (begin + f"{time.monotonic_ns():032x}"[len(begin) - len(name) :]).encode() if name else b""


def _take(lock: int) -> bool:
    """Take a lock that was shared for oneself; return whether that could be done."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _streams() -> "tuple[tuple[int, int, int], Callable[[], object], Callable[[], object]]":
    """Return the program's standard streams, and what begins and ends to copy where they are not the user's own."""
    if all(stat.S_IFMT(os.fstat(stream).st_mode) in STREAMS for stream in (1, 2)):
        return (0, 1, 2), _nothing, _nothing
    from contextlib import ExitStack

    from harness.runtime import relay

    undo = ExitStack()
    streams, begin = relay.instead_of_files((0, 1, 2), undo)
    return streams, begin, undo.close


def _nothing() -> None:
    """Copy nothing."""


def _new_memory(content: bytes, protection: int) -> int:
    """Return the address of new memory that holds something. Raises OSError where it may not be had."""
    libc = dlopen(None, 0)  # type: ignore[arg-type]
    mmap, mprotect = Function(dlsym(libc, "mmap")), Function(dlsym(libc, "mprotect"))
    mmap.argtypes, mprotect.argtypes = (Long,) * 6, (Long,) * 3
    address: int = mmap(0, len(content), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if address == -1:
        raise MemoryError
    memoryview((Char * len(content)).from_address(address)).cast("B")[:] = content
    if mprotect(address, len(content), protection) == -1:
        raise PermissionError("a policy of this machine lets no process make code")
    return address
