"""Random processes: ids, capabilities, limits, scheduling, hooks, within what the kernel grants the runtime's user."""

import resource
from pathlib import Path

from hypothesis import strategies as st

from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES, HOOKS, RLIMITS
from harness.runtime.kinds import LIMITLESS, Assignment
from harness.shapes import COMMAND, KIT
from harness.strategies.values import TEXTS, Strategy, values
from harness.strategies.world import Rule, World, held

# Below these the kernel would stop the interpreter of the probes, not the container: that would be the program's end.
LEAST = {
    "RLIMIT_AS": 1 << 30,  # bytes
    "RLIMIT_CPU": 60,  # seconds
    "RLIMIT_DATA": 1 << 30,
    "RLIMIT_NOFILE": 64,
    "RLIMIT_NPROC": 4096,  # which counts the user's processes on the whole machine
    "RLIMIT_RTTIME": 60_000_000,  # microseconds
    "RLIMIT_STACK": 1 << 20,
}


@st.composite
def _rlimits(draw: st.DrawFn, _world: World) -> list[Config]:
    """Draw limits that take no CAP_SYS_RESOURCE: none is above the hard limit of this process. getrlimit(2)"""
    found = []
    for name in draw(st.lists(st.sampled_from(RLIMITS), unique=True, max_size=4)):
        most = resource.getrlimit(RLIMITS.index(name))[1] & LIMITLESS
        least = min(LEAST.get(name, 0), most)
        hard = draw(st.just(most) | st.integers(least, most))
        found.append({"type": name, "soft": draw(st.just(hard) | st.integers(least, hard)), "hard": hard})
    return found


@st.composite
def _capabilities(draw: st.DrawFn, world: World) -> Config:
    """Draw five sets that can be had together, as capset(2) and prctl(2) have it."""

    def some(of: set[str]) -> set[str]:
        return draw(st.sets(st.sampled_from(sorted(of)))) if of else set()

    permitted = some(set(CAPABILITIES if world.mapped else held()))
    bounding = draw(st.just(permitted)) | some(set(held()))
    inheritable = some(permitted & bounding)
    found = {
        "bounding": bounding,
        "permitted": permitted,
        "effective": some(permitted),
        "inheritable": inheritable,
        "ambient": some(inheritable),
    }
    return {kind: sorted(names, key=CAPABILITIES.index) for kind, names in found.items()}


@st.composite
def _scheduler(draw: st.DrawFn, world: World) -> Config:
    """Draw a policy, but none of realtime, for which a cgroup has no time that was not given any (RT_GROUP_SCHED).

    Nor are there flags that keep the policy as it was, or that only have a meaning for realtime.
    """
    found: Config = {"policy": draw(st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"]))}
    if found["policy"] != "SCHED_IDLE" and draw(st.booleans()):
        found["nice"] = draw(st.integers(0 if world.mapped else -20, 19))
    return found


def _io_priorities(world: World) -> Strategy:
    classes = ["IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", *([] if world.mapped else ["IOPRIO_CLASS_RT"])]
    return st.fixed_dictionaries({"class": st.sampled_from(classes), "priority": st.integers(0, 7)})


def _oom_scores(_world: World) -> Strategy:
    """Return preferences, none below the own one, which would take CAP_SYS_RESOURCE: proc_pid_oom_score_adj(5)."""
    own = int(Path("/proc/self/oom_score_adj").read_text())
    return st.integers(-1000 if "CAP_SYS_RESOURCE" in held() else own, 1000)


def _users(world: World) -> Strategy:
    ids = world.ids()
    other = {"umask": st.integers(0, 0o777), "additionalGids": st.lists(ids, unique=True, max_size=3)}
    return st.fixed_dictionaries({"uid": ids, "gid": ids}, optional=other)


def _landlock(_world: World) -> Strategy:
    """Return restrictions on what no probe needs."""
    ports = st.lists(
        st.fixed_dictionaries({"port": st.integers(0, 65535), "allowedAccess": st.just(["bind_tcp"])}), max_size=2
    )
    ruleset = {"handledAccessNet": st.just(["bind_tcp"]), "scoped": st.sampled_from([[], ["abstract_unix_socket"]])}
    return st.fixed_dictionaries(
        {"ruleset": st.fixed_dictionaries(ruleset)}, optional={"rules": st.fixed_dictionaries({"netPort": ports})}
    )


def _hooks(_world: World) -> Strategy:
    """Return hooks that come to a good end: true(1) of the host's, and inside the loader, which looks at a program."""
    more = {"env": st.lists(values(Assignment()), max_size=2), "timeout": st.integers(5, 99)}
    true = st.fixed_dictionaries({"path": st.just("/bin/true")}, optional={"args": st.lists(TEXTS, max_size=2), **more})
    words = ["loader", "--verify", f"{KIT}/bin/python"]
    look = st.fixed_dictionaries({"path": st.just(f"{KIT}/lib/loader"), "args": st.just(words)}, optional=more)
    hooks = {point: look if point == "startContainer" else true for point in HOOKS}
    return st.fixed_dictionaries(
        {}, optional={point: st.lists(hook, min_size=1, max_size=2) for point, hook in hooks.items()}
    )


RULES: dict[str, Rule] = {
    "process.args": lambda _world: st.just([COMMAND]),
    "process.cwd": lambda _world: st.sampled_from(["/", "/proc", "/tmp", "/dev/pts", KIT]),
    "process.consoleSize": lambda _world: st.fixed_dictionaries(
        {"height": st.integers(0, 2**16 - 1), "width": st.integers(0, 2**16 - 1)}
    ),
    "process.user": _users,
    "process.capabilities": _capabilities,
    "process.rlimits": _rlimits,
    "process.oomScoreAdj": _oom_scores,
    "process.scheduler": _scheduler,
    "process.ioPriority": _io_priorities,
    "process.landlock": _landlock,
    "hooks": _hooks,
}
