"""What is known of the containers of test_lives.py: how each may end, and what there is of it on the host until then.

A container is prepared, runs, and can run again; it ends by itself, by a signal, with what it has joined, or with its
launcher. While it is ending, nobody knows how far it has come.
"""

import os
import secrets
import signal
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from harness.runtime.config import Config
from harness.runtime.spec import example
from tests.property.launchers import Launcher
from tests.property.obedient import Obedient
from tests.property.stage import ROOTS, Stage, freezers

KILLED = 128 + signal.SIGKILL
REFUSED = 125  # a start that has failed
AROUND = f"isoproof-lives-{secrets.token_hex(4)}"  # the cgroup that those are in whose cgroup has a name
HARMLESS = (signal.SIGWINCH, signal.SIGCONT)
FINAL = (signal.SIGINT, signal.SIGTERM)  # of which the second kills: `harness.runtime.signals`
SIGNALS = (*HARMLESS, *FINAL, signal.SIGHUP, signal.SIGUSR1)

# Those that run, and those whose start fails, with the status of that.
KINDS = ("bare", "init", "limited", "pooled", "named", "unhidden")
LIMITED = ("init", "limited", "pooled", "named")  # where there are cgroups to limit them in
SEEING_CGROUPS = ("limited", "pooled")
USERS_KINDS = ("bare", "init")
FAILING = {"script": 127, "data": 126, "sysctl": REFUSED}


class State(Enum):
    """How far the life of a container has come."""

    PREPARED = "prepared, for the first time or once more"
    RUNNING = "running"
    ENDING = "the end has begun, and nobody has seen it"
    ORPHANED = "its launcher was killed"
    GONE = "nothing is left of it"


@dataclass(eq=False)
class World:
    """The namespaces of a container that runs, in which others may be as well.

    `doubtful` are processes of which nobody knows whether they have ended; where the world itself is `ending`, all are.
    """

    name: str
    pids: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    sockets: dict[int, str] = field(default_factory=dict)  # by the process that has it
    ending: bool = False

    def sure(self) -> set[int]:
        """Return the processes that are there beyond doubt."""
        return set() if self.ending else self.pids - self.doubtful

    def forget(self, pids: set[int]) -> None:
        """Take note that these processes have ended."""
        self.pids -= pids
        self.doubtful -= pids


@dataclass(eq=False)
class Life:
    """One container, and what is known of it."""

    name: str
    kind: str
    root: Path
    launcher: Launcher
    target: "Life | None" = None  # whose namespaces it joins
    joined: World | None = None  # as they were when it was prepared
    shares_cgroup: bool = False  # with that
    freezers: dict[int, Path] = field(default_factory=dict)  # by the version
    state: State = State.PREPARED
    program: Obedient | None = None
    world: World = field(default_factory=lambda: World(""))
    own: set[int] = field(default_factory=set)  # its processes, by their numbers in its world
    pid: int = 0  # of the program
    mark: str = ""  # by which its things are known, of this run alone
    statuses: set[int] = field(default_factory=set)  # with one of which it ends
    ignored: set[int] = field(default_factory=set)
    finals: int = 0
    waiting: set[int] = field(default_factory=set)  # statuses of the signals that it does not get before it is thawed
    frozen: int = 0  # the version of the cgroup by which it is; if it is to die, its launcher thaws it
    freezer: Path = Path()  # that cgroup
    has_cgroups: bool = False  # beyond doubt

    def __repr__(self) -> str:
        return self.name

    @property
    def launched(self) -> bool:
        """Whether its launcher is alive."""
        return self.state in (State.PREPARED, State.RUNNING, State.ENDING)

    @property
    def is_recorded(self) -> bool:
        """Whether a record of its launcher's says what there may be of it."""
        return self.launched or self.state == State.ORPHANED

    @property
    def around(self) -> "Life":
        """The one in whose cgroups it is."""
        return self.target if self.target and self.shares_cgroup else self

    @property
    def is_frozen(self) -> bool:
        return bool(self.around.frozen)

    @property
    def runs(self) -> bool:
        """Whether it can do as it is told."""
        return self.state == State.RUNNING and not self.is_frozen

    @property
    def is_first(self) -> bool:
        """Whether the program is the first process of a PID namespace, which gets no signal that it has no use for."""
        return self.target is None and self.kind not in ("init", "unhidden")

    @property
    def is_stuck(self) -> bool:
        """Whether it does not end before somebody else than its launcher has thawed what is around it."""
        shared = self.around is not self and self.is_frozen and self.around.state != State.ENDING
        return shared or (self.target is not None and self.target.is_left_frozen)

    @property
    def is_left_frozen(self) -> bool:
        """Whether nobody thaws it although it has to die: version 1, and its launcher was killed."""
        return self.frozen == 1 and self.state == State.ORPHANED

    @property
    def can_start(self) -> bool:
        """Whether it can be told to start, with whatever success."""
        return self.state == State.PREPARED and not self.is_stuck

    @property
    def comes_too_late(self) -> bool:
        """Whether what it would join has ended, or is ending."""
        return self.target is not None and (self.target.world is not self.joined or self.target.world.ending)

    def is_starting(self) -> None:
        """Take note that it runs anew, and no signal has come to it."""
        self.ignored, self.waiting, self.finals = set(), set(), 0

    def end_by(self, number: int) -> int:
        """Take note that its launcher is sent a signal; return the status with which it ends then, or 0."""
        self.finals += number in FINAL
        if number in FINAL and self.finals > 1:
            return KILLED
        return 0 if self.is_first or number in HARMLESS or number in self.ignored else 128 + number

    def ask(self, *orders: str) -> list[str]:
        """Ask its program."""
        assert self.program
        return self.program.ask(*orders)

    def order(self, order: str) -> None:
        """Give an order to its program that is not answered."""
        assert self.program
        self.program.order(order)

    def close(self) -> None:
        """Have nothing to do with it any more."""
        self.launcher.close()
        if self.program:
            self.program.close()


def config_of(kind: str, name: str) -> Config:
    """Return the config of a container of a kind."""
    config = example(os.geteuid(), os.getegid())
    config |= {"hostname": name}
    config["process"]["args"] = ["/bin/obedient"]
    linux = config["linux"]
    linux["maskedPaths"] = linux["readonlyPaths"] = []  # which take a third of the time
    if kind in LIMITED and os.geteuid() == 0:
        linux["resources"] = {"pids": {"limit": 30}}
    if kind in SEEING_CGROUPS:
        cgroups = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        config["mounts"].append(cgroups)
    if kind == "named":
        linux["cgroupsPath"] = f"{AROUND}/{name}"
    elif kind == "init":
        config["annotations"] = {"isoproof.init": "true"}
    elif kind == "unhidden":
        linux["namespaces"].remove({"type": "pid"})
    elif kind == "sysctl":
        linux["sysctl"] = {"kernel.shm_rmid_forced": "nonsense"}
    elif kind in FAILING:
        config["process"]["args"] = [f"/bin/{kind}"]
    return config


def config_into(target: Life, shares_cgroup: bool) -> Config:
    """Return the config of a container that joins another, as `exec` puts a process into it."""
    config = config_of("bare", "")
    del config["hostname"]
    linux = config["linux"]
    program = target.launcher.program(target.kind == "init")
    files = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}
    types = [entry["type"] for entry in linux["namespaces"]]
    paths = {kind: f"/proc/{program}/ns/{file}" for kind, file in files.items() if kind in types}
    linux["namespaces"] = [{"type": kind} | ({"path": paths[kind]} if kind in paths else {}) for kind in types]
    for kind in ("uidMappings", "gidMappings"):
        linux.pop(kind, None)
    if shares_cgroup:
        linux["cgroupsPath"] = f"{AROUND}/{target.name}" if target.kind == "named" else target.launcher.name
    return config


def prepare(stage: Stage, name: str, kind: str, root: int) -> Life:
    """Have a container prepared."""
    config = config_of(kind, name)
    launcher = Launcher(stage.zygote, config, ROOTS[root], pooled=kind == "pooled", forked=kind == "named")
    return Life(name, kind, ROOTS[root], launcher, freezers=freezers(launcher.cgroups))


def prepare_into(stage: Stage, name: str, target: Life, shares_cgroup: bool, root: int) -> Life:
    """Have a container prepared that joins another."""
    launcher = Launcher(stage.zygote, config_into(target, shares_cgroup), ROOTS[root])
    own_freezers = {} if shares_cgroup else freezers(launcher.cgroups)
    return Life(name, "joined", ROOTS[root], launcher, target, target.world, shares_cgroup, own_freezers)


def expect_end(life: Life, statuses: set[int], lives: list[Life]) -> None:
    """Take note that a container that runs is ending, with one of these statuses, and with it those in its world."""
    life.statuses = life.statuses | statuses if life.state == State.ENDING else set(statuses)
    life.state = State.ENDING
    life.has_cgroups = False
    if life.target:
        life.world.doubtful |= life.own if not life.shares_cgroup and life.launcher.cgroups else {life.pid}
        return
    if life.kind == "unhidden":
        life.world.ending = True
        return
    end_world(life, lives)


def end_world(life: Life, lives: list[Life]) -> None:
    """Take note that the first process of a world is ending, and so all that live in it."""
    life.world.ending = True
    for other in lives:
        if other.world is life.world and other is not life and other.state in (State.RUNNING, State.ENDING):
            expect_end(other, {KILLED}, lives)


def note_start(life: Life, program: Obedient, mark: str, pid: int, child: int) -> None:
    """Take note that a container runs, and that its program has left its mark everywhere."""
    first = {1} if life.kind == "init" else set()
    life.world = life.joined or World(life.name)
    life.program, life.mark, life.pid = program, mark, pid
    life.own = {pid, child} | first
    life.world.pids |= life.own
    life.world.keys.add(mark)
    life.world.sockets[pid] = mark
    life.state = State.RUNNING
    life.has_cgroups = not life.shares_cgroup


def note_signal(life: Life, number: int, lives: list[Life]) -> None:
    """Take note that the launcher of a container that runs was sent a signal.

    What is frozen by version 2 dies by a signal at once, if it has no handler for that; by version 1 it does not.
    """
    status = life.end_by(number)
    if status == KILLED:
        note_kill(life, lives)
    elif status and (life.around.frozen == 1 or (life.is_frozen and life.kind == "init")):
        life.waiting.add(status)
    elif status:
        expect_end(life, {status}, lives)


def note_kill(life: Life, lives: list[Life]) -> None:
    """Take note that the first process of a container that runs was sent SIGKILL."""
    if life.around.frozen == 1 and life.around is not life:
        life.waiting.add(KILLED)
    else:
        expect_end(life, {KILLED}, lives)


def note_thaw(life: Life, lives: list[Life]) -> None:
    """Take note that the cgroups of a container were thawed."""
    life.frozen = 0
    if life.state == State.ORPHANED:
        note_orphans(life, lives)
    for each in lives:
        if each.around is life and each.waiting and each.state == State.RUNNING:
            expect_end(each, {KILLED} if KILLED in each.waiting else each.waiting, lives)


def note_orphans(life: Life, lives: list[Life]) -> None:
    """Take note of what becomes of a container whose launcher was killed."""
    life.state = State.ORPHANED
    if life.is_left_frozen and life.kind == "unhidden":
        life.world.doubtful.add(life.pid)
        return
    if life.target or life.kind == "unhidden":
        life.world.forget({life.pid})
        life.world.sockets.pop(life.pid, None)
        return
    end_world(life, lives)
    if life.frozen != 1:
        life.world.forget(set(life.world.pids))


def note_end(life: Life) -> None:
    """Take note that a container has ended, and that its launcher is ready for the next run."""
    if life.target is None:
        life.world.forget(set(life.world.pids))
    else:
        life.world.sockets.pop(life.pid, None)
        life.world.forget(life.own & life.world.doubtful)
    life.state = State.PREPARED
    life.frozen = 0
    life.has_cgroups = False
    if life.program:
        life.program.close()


def note_cleaning(life: Life) -> None:
    """Take note that what was left of a container whose launcher had been killed was removed."""
    life.close()  # no sooner, for that ends the program
    life.state = State.GONE
    life.frozen = 0
    life.has_cgroups = False
    if life.target is None:
        life.world.forget(set(life.world.pids))
    elif not life.shares_cgroup and life.launcher.cgroups:
        life.world.forget(set(life.own))
