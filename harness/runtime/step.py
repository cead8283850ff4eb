"""What a plan is made of: system calls as plain data, grouped into steps.

A step can be printed, timed, left out or made to fail, because it does nothing by itself; an executor runs it
(`harness.runtime.forked`). What only the kernel can tell (a descriptor it returned, the number of a process) is kept
under a name by one call and asked for by `Saved` or `Filled` in a later one.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.runtime import members
from harness.runtime.errors import on_one_line
from harness.runtime.syscalls import CLONE

CHANNEL = 3  # where the child finds the socket to its launcher: harness.runtime.rendezvous
PERMISSIONS = {"fchmodat": 2, "mkdirat": 2, "mknodat": 2, "umask": 0}  # which argument of these is octal to everybody


@dataclass(frozen=True, slots=True)
class Saved:
    """The result that an earlier call left under this name."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with the results of earlier calls filled in: `/proc/{pid}/uid_map`."""

    template: str

    def __str__(self) -> str:
        return f'"{self.template}"'


@dataclass(frozen=True, slots=True)
class Strings:
    """An array of pointers to strings, ended by a null pointer, as execve(2) takes it."""

    values: tuple[bytes, ...]

    def __str__(self) -> str:
        return "[" + ", ".join(f'"{value.decode(errors="backslashreplace")}"' for value in self.values) + "]"


@dataclass(frozen=True, slots=True)
class Packed:
    """A kernel struct, with the words that say what is in it."""

    value: bytes
    meaning: str

    def __str__(self) -> str:
        return "{" + self.meaning + "}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A buffer that holds the result after the call: the int at `at`, an errno where it is negative (netlink(7))."""

    value: bytes
    at: int
    meaning: str

    def __str__(self) -> str:
        return "{" + self.meaning + "}"


@dataclass(frozen=True, slots=True)
class Program:
    """A classic BPF program, handed over by pointer as `struct sock_fprog`."""

    instructions: bytes

    def __str__(self) -> str:
        return f"{{{len(self.instructions) // 8} instructions}}"


@dataclass(frozen=True, slots=True)
class Record:
    """A kernel struct that holds pointers or earlier results: the format of each member (struct.pack) and its value.

    A Packed or another Record is pointed to, a Saved is looked up when the call is made, None is padding. `meaning` is
    what is in it in words, where the members do not say it.
    """

    members: tuple[tuple[str, "int | bytes | Packed | Record | Saved | None"], ...]
    meaning: str = ""

    @property
    def format(self) -> str:
        """The format of the whole, without padding."""
        return "=" + "".join(letters for letters, _ in self.members)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return struct.calcsize(self.format)

    def __str__(self) -> str:
        shown = self.meaning or ", ".join(str(value) for _, value in self.members if value is not None)
        return "{" + shown + "}"


Meeting = Callable[[int, list[int]], None]
"""What the launcher does at a meeting, given the child's process id and the descriptors that it has sent."""

Argument = int | str | Saved | Filled | Strings | Packed | Answer | Program | Record | None


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    `allowed` are the errnos that are as good as success here (a directory that is there already); `saves` is the name
    under which the result is kept; a result below `least` is a failure, too: EPIPE, for the other end is closed.
    """

    name: str
    arguments: tuple[Argument, ...]
    allowed: tuple[int, ...] = ()
    saves: str = ""
    least: int = 0

    def __str__(self) -> str:
        shown = [_shown(argument) for argument in self.arguments]
        if (at := PERMISSIONS.get(self.name)) is not None:
            shown[at] = f"0{self.arguments[at]:03o}"
        text = ", ".join(shown)
        kept = f" -> ${self.saves}" if self.saves else ""
        return f"{self.name}({text}){kept}"


def _shown(argument: Argument) -> str:
    if argument is None:
        return "NULL"
    if isinstance(argument, str):
        return f'"{on_one_line(argument)}"'
    return "AT_FDCWD" if argument == -100 else str(argument)


@dataclass(frozen=True, slots=True)
class Hook:
    """A program that the config wants to be run at this point: `harness.runtime.hooks`.

    `timeout` is in seconds; `state` is what it is told, besides the container's process id; it is run in the
    `directory` of the `root` that an earlier call has opened, else in those of whoever runs it.
    """

    name: str
    path: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    timeout: int | None
    state: dict[str, object]
    root: Saved | None = None
    directory: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A few calls with one purpose; `why` is one line in kernel words, with its manual page.

    `undo` takes back on the host's side what `calls` did there, and is left out where a call found its work already
    done (an allowed errno), for that was not ours. Steps inside the container need none: what they make goes with its
    namespaces. `program` is one of the host's that holds a right which its caller lacks, run in the place of the calls;
    its words may ask for results as `Filled` does. `holder` are namespaces that the calls need somebody to be in: a
    process that does nothing and is gone after them; they know it as `{holder}`. A `hook` is run in the place of calls.
    """

    name: str
    why: str
    calls: tuple[Call, ...]
    undo: tuple[Call, ...] = ()
    program: tuple[str, ...] = ()
    holder: CLONE | None = None
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A config, compiled.

    `before` runs on the host's side. Where there is something to `enter`, a go-between does that, clones the child in
    the launcher's stead and is gone: the launcher itself could never leave some namespaces again. The child is cloned
    with `flags` (into the version 2 cgroup `into`, where there is one) and inherits the results so far, `between` runs
    on the host's side while the child waits, `steps` run in the child and end in execve(2), `after` runs on the host's
    side when the program has started. `meetings` are what the launcher does when the child asks for it by name and
    waits. Of standard streams that are files the program gets only the bytes (`relay`). Where the steps can be replayed
    they are (`replay`). When the first process has ended, whatever is left in one of the container's cgroups is
    killed (`kill`, which is told all of them). `shim`, where there is one, is the first process of the container and
    runs the program as its child.
    """

    flags: CLONE
    steps: tuple[Step, ...]
    before: tuple[Step, ...] = ()
    enter: tuple[Step, ...] = ()
    between: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    into: str = ""
    kill: Callable[[Path, Iterable[Path]], bool] = members.kill
    meetings: dict[str, Meeting] = field(default_factory=dict)
    relay: bool = True
    replay: bool = True
    shim: Callable[[], None] | None = None

    def without(self, *names: str) -> "Plan":
        """Return this plan without the steps of these names, wherever they stand."""

        def kept(steps: tuple[Step, ...]) -> tuple[Step, ...]:
            return tuple(step for step in steps if step.name not in names)

        return replace(
            self,
            before=kept(self.before),
            enter=kept(self.enter),
            between=kept(self.between),
            steps=kept(self.steps),
            after=kept(self.after),
        )

    def exchange(self, name: str, *steps: Step) -> "Plan":
        """Return this plan with the child's step of this name replaced by others.

        Raises KeyError where the plan has no such step: an exchange that changes nothing would be a lie.
        """
        if name not in [step.name for step in self.steps]:
            raise KeyError(name)
        result: list[Step] = []
        for step in self.steps:
            result.extend(steps if step.name == name else [step])
        return replace(self, steps=tuple(result))


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup hierarchy: where it is, which controllers it has, and where the caller stands in it.

    `own` and `parent` are directories on the host: the caller's own cgroup, and the one below which new cgroups are
    made. `options` is what mount(8) would be given to mount it again.
    """

    point: str
    version: int
    controllers: frozenset[str]
    own: str
    parent: str
    options: tuple[str, ...] = ()
    enable: frozenset[str] = frozenset()
    cpus: str = ""
    mems: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """What a plan must know of the host; read once by `harness.runtime.inspect`, so that planning itself stays pure.

    `landlock` is the version of Landlock's ABI, 0 without it, `security_modules` are all that are active; `shared` are
    the types of those namespaces to be joined that are the launcher's own, `addresses` those of interfaces to be lent.
    """

    name: str
    rootfs: str
    bundle: str = ""
    machine: str = "x86_64"
    uid: int = 0
    gid: int = 0
    kernel: tuple[int, int] = (0, 0)
    last_capability: int = 40
    landlock: int = 0
    security_modules: tuple[str, ...] = ()
    hierarchies: tuple[Hierarchy, ...] = ()
    files: frozenset[str] = field(default_factory=frozenset)
    shared: frozenset[str] = field(default_factory=frozenset)
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def rootless(self) -> bool:
        """Whether an ordinary user asks."""
        return self.uid != 0
