"""What a rung adds to a plan: the flags of clone3(2), and the steps that are new or make other calls than below."""

from harness import sabotage, shapes
from harness.ladder.record import ToldStep
from harness.ladder.rungs import taken_down
from harness.language import Container, Size
from harness.runtime.config import Config, read
from harness.runtime.plan import plan
from harness.runtime.step import Hierarchy, Host, Plan, Step
from harness.runtime.syscalls import CLONE

# Everything that a rung is about, in one container.
WHOLE = Container(
    hostname="cell",
    userns=True,
    seccomp=True,
    cgroup=True,
    memory=Size(64 << 20),
    pids=64,
    cpu=0.5,
    namespaces={"time": True},
    oci={"process": {"landlock": {"ruleset": {"handledAccessFS": ["write_file"]}, "rules": {}}}},
)
# No machine in particular, so that what is told is the same everywhere.
CONTROLLERS = frozenset({"memory", "pids", "cpu"})
HOST = Host(
    name="cell",
    rootfs="/bundle/rootfs",
    kernel=(6, 18),
    landlock=7,
    hierarchies=(Hierarchy("/sys/fs/cgroup", 2, CONTROLLERS, own="/sys/fs/cgroup", parent="/sys/fs/cgroup"),),
)
ROOT = ("open-root", "attach-root", "chroot", "enter-root")  # what the lowest rung is about


def whole() -> Config:
    """Return the config of the container that has everything."""
    config = shapes.config([WHOLE], 0, 0)
    config["root"]["path"] = HOST.rootfs
    config["process"]["args"] = ["/program"]
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != shapes.KIT]
    return config


def plans() -> list[Plan]:
    """Return the plan of that container at each rung, from the bottom up."""
    found = []
    for knobs in map(list, taken_down(whole())):
        asked = read(sabotage.sabotaged_config(knobs, whole()))
        found.append(sabotage.sabotaged_plan(knobs, plan(asked, HOST)))
    return found


def added() -> list[tuple[CLONE, list[ToldStep]]]:
    """Return what each rung has beyond the one below it."""
    found = []
    rungs = plans()
    below = rungs[0].without(*ROOT)
    for each in rungs:
        known = _steps(below)
        new = [ToldStep(step.name, step.why, [*map(str, step.calls)]) for step in _steps(each) if step not in known]
        found.append((each.flags & ~below.flags, new))
        below = each
    return found


def _steps(whole: Plan) -> list[Step]:
    return [*whole.before, *whole.between, *whole.steps]
