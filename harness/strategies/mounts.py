"""Random mounts: file systems of the kernel's, binds of the host's, one upon the other, with options of all sorts."""

from hypothesis import strategies as st

from harness.runtime.config import Config
from harness.runtime.fields import PROPAGATIONS
from harness.shapes import FIRST_ID
from harness.strategies.values import NAMES, Strategy
from harness.strategies.world import Rule, World

# What is there in every root and may be covered. Elsewhere only /tmp is a place that every mapped root may write to.
DIRECTORIES = ("/root", "/etc", "/dev/shm")
TREES = ("container.kit", "/usr")  # of the host's, to be bound
FLAGS = ("ro", "nosuid", "nodev", "noexec", "nosymfollow")
LESS = ("rw", "suid", "dev", "exec", "symfollow")
TIMES = ("noatime", "strictatime", "relatime", "nodiratime")
DATA = {
    "tmpfs": ("size=1m", "size=65536", "nr_inodes=100", "mode=755", "mode=1777"),
    "proc": ("hidepid=2", "hidepid=1", "subset=pid"),
    "mqueue": (),
    "sysfs": (),
    "devpts": ("max=9", "mode=600", "ptmxmode=666"),
    "overlay": ("lowerdir=/usr:/etc",),
}
# What the container must own if it is to have one of its own in a user namespace.
OWNERS = {"proc": "pid", "sysfs": "network", "mqueue": "ipc"}
COVERED = ("/tmp", "/root", "/proc/kcore", "/proc/keys", "/proc/sched_debug", "/sys/firmware", "/absent", "/etc/absent")


def fitted(mounts: list[Config], world: World) -> list[Config]:
    """Return the mounts of the default config with those of the host where the kernel would not make new ones."""
    found = []
    for mount in mounts:
        if not world.mapped or OWNERS.get(mount["type"], "mount") in world.own:
            found.append(mount)
        elif mount["type"] != "mqueue":  # the host's is in /dev, which is not the container's
            place = mount["destination"]
            found.append(mount | {"type": "bind", "source": place, "options": ["rbind", "nosuid", "noexec", "nodev"]})
    return found


@st.composite
def _mounts(draw: st.DrawFn, world: World) -> list[Config]:
    """Draw mounts in places of their own, some below one another; where more is to be mounted below there is room."""
    placed = draw(st.lists(_placed(world), unique_by=lambda each: each[0], max_size=4))
    found = []
    for index, (place, mount, room) in enumerate(placed):
        roomy = any(other.startswith(f"{place}/") for other, _mount, _room in placed[index + 1 :])
        found.append(room if roomy else mount)
    if draw(st.booleans()) and not (world.mapped and "cgroup" not in world.own):
        found.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]})
    if draw(st.booleans()):
        options = draw(_options([*FLAGS, *([] if world.mapped else LESS)]))
        found.append({"destination": "/dev/shm", "options": ["remount", *options]})
    spellings = st.sampled_from(["{}", "{}/", "/{}", "/.{}", "/tmp/..{}"])
    return [mount | {"destination": draw(spellings).format(mount["destination"])} for mount in found]


@st.composite
def _placed(draw: st.DrawFn, world: World) -> tuple[str, Config, Config]:
    """Draw a place, what is mounted there, and what is instead where there must be room for more below."""
    below = st.lists(NAMES, min_size=1, max_size=2).map(lambda names: f"/tmp/{'/'.join(names)}")
    place = draw(st.sampled_from(DIRECTORIES) | below)
    options = draw(st.lists(st.sampled_from(PROPAGATIONS), max_size=1))
    room = {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options}
    return place, draw(_mount(place, world)), room


@st.composite
def _mount(draw: st.DrawFn, place: str, world: World) -> Config:
    own = [kind for kind in DATA if not world.mapped or OWNERS.get(kind, "mount") in world.own]
    kind = draw(st.sampled_from([*own, "bind", "bind", "bind"]))
    if kind == "bind":
        return draw(_bind(place, world))
    data = draw(st.lists(st.sampled_from(DATA[kind]), max_size=2, unique_by=_key)) if DATA[kind] else []
    if kind == "overlay":
        data = [*DATA[kind]]
    if kind == "tmpfs" and draw(st.booleans()):
        data += [f"uid={draw(world.ids())}", f"gid={draw(world.ids())}"]
    locked = world.mapped and kind in OWNERS  # the access times of what shows the kernel are as the host has them
    options = draw(_options([*FLAGS, *LESS, *([] if locked else TIMES)]))
    return {"destination": place, "type": kind, "source": kind, "options": [*options, *data]}


@st.composite
def _bind(draw: st.DrawFn, place: str, world: World) -> Config:
    """Draw a tree or a file of the host's; a file only where nobody else wants a directory.

    In a user namespace what the host's mount forbids stays forbidden, and its access times are as they are:
    mount_namespaces(7).
    """
    source = draw(st.sampled_from(TREES))
    if place.startswith("/tmp/") and draw(st.booleans()):
        place, source = f"/tmp/file/{place.removeprefix('/tmp/').replace('/', '-')}", "/etc/passwd"
    flags = [*FLAGS, *("r" + flag for flag in FLAGS), *([] if world.mapped else [*LESS, *TIMES])]
    options = [draw(st.sampled_from(["bind", "rbind"])), *draw(_options(flags))]
    mount = {"destination": place, "type": "bind", "source": source, "options": options}
    if source == TREES[0] and draw(st.booleans()):
        extent = {"containerID": 0, "hostID": draw(st.integers(0, FIRST_ID)), "size": draw(st.integers(1, 1000))}
        return {**mount, "uidMappings": [extent], "gidMappings": [extent]}
    return mount


@st.composite
def _options(draw: st.DrawFn, flags: list[str]) -> list[str]:
    found = draw(st.lists(st.sampled_from(flags), unique=True, max_size=4))
    return found + draw(st.lists(st.sampled_from(PROPAGATIONS), max_size=1))


def _key(option: str) -> str:
    return option.partition("=")[0]


def _paths(_world: World) -> Strategy:
    return st.lists(st.sampled_from(COVERED), unique=True)


RULES: dict[str, Rule] = {"mounts": _mounts, "linux.maskedPaths": _paths, "linux.readonlyPaths": _paths}
