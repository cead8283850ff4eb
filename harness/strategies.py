"""Random configs for Hypothesis: values of each kind, valid configs and wrong ones, all made from the table of fields.

`configs()` gives configs that a start in the outer sandbox takes, or refuses before anything has happened. A field that
is new in `harness.runtime.fields` is in them as soon as it is in the table, with whatever its kind allows; what has
rules across fields, or is no good to a container that is to say what it sees, has a strategy of its own here. So are
kept out, because nothing could be seen inside: limits under which the probes' interpreter cannot start (`LEAST`),
system calls denied that it makes, mounts that cover the kit or /proc, programs of hooks that fail. They shrink to the
default config of `harness.shapes`, from which each drawn part takes them away; the simplest of a part is its absence.

It takes Hypothesis: pip install isoproof[fuzz].
"""

import functools
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from harness import shapes
from harness.language import Container
from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES, FIELDS, KINDS, MEMORY_POLICY_FLAGS, NAMESPACES, RLIMITS
from harness.runtime.kinds import (
    AbsolutePath,
    Address,
    Assignment,
    Flag,
    InterfaceName,
    Kind,
    Letters,
    Network,
    NumberList,
    OneOf,
    Text,
    Whole,
)
from harness.runtime.spec import example
from harness.wrong_values import place, wrong_values

Strategy = st.SearchStrategy[Any]

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NAMES = st.text("abcxyz", min_size=1, max_size=3)
MEBIBYTE = 1 << 20
PAGE = os.sysconf("SC_PAGESIZE")


def values(kind: Kind) -> Strategy:
    """Return right values of a kind, the simplest first; nothing at all for a kind that accepts nothing."""
    if isinstance(kind, NumberList):
        return st.sampled_from(["", "0", "0-3,7"])
    if isinstance(kind, InterfaceName):
        return st.sampled_from(["eth0", "lo", "x"])
    if isinstance(kind, Network):
        return st.sampled_from(["10.0.0.2/24", "fd00::2/64", "0.0.0.0/0"])
    if isinstance(kind, Address):
        return st.sampled_from(["10.0.0.1", "::"])
    if isinstance(kind, Assignment):
        return st.builds("{}={}".format, NAMES.map(str.upper), TEXTS)
    if isinstance(kind, AbsolutePath):
        return TEXTS.map("/{}".format)
    if isinstance(kind, Text):
        return TEXTS
    if isinstance(kind, Flag):
        return st.booleans()
    if isinstance(kind, Whole):
        return st.integers(kind.low, kind.high) | st.sampled_from([kind.low, kind.high])
    if isinstance(kind, OneOf):
        return st.sampled_from(kind.names)
    if isinstance(kind, Letters):
        return st.sampled_from(["", kind.letters])
    return st.nothing()


@dataclass(frozen=True)
class World:
    """What the rest of a config depends on: its namespaces, own and joined, and which ids there are inside."""

    own: frozenset[str]
    joined: frozenset[str]
    extents: tuple[
        tuple[int, int, int], ...
    ]  # first id inside, first id outside, how many; none without a user namespace

    @property
    def mapped(self) -> bool:
        """Whether root inside is nobody outside, and so may not do what takes a right over the machine."""
        return "user" in self.own


@functools.cache
def _held() -> tuple[str, ...]:
    """Return the capabilities that whoever runs this holds; no container can be given others."""
    mask = int(Path("/proc/self/status").read_text().partition("CapPrm:")[2].split()[0], 16)
    return tuple(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)


# --- namespaces and ids ---


@st.composite
def _worlds(draw: st.DrawFn) -> World:
    default = {entry["type"] for entry in example(0, 0)["linux"]["namespaces"]}
    without = draw(st.sets(st.sampled_from(sorted(default - {"mount"})), max_size=3))
    more = draw(st.sets(st.sampled_from(sorted(set(NAMESPACES) - default))))
    joined = draw(st.sets(st.sampled_from(sorted(without)))) if without else set()
    extents = draw(_extents()) if "user" in more else ()
    return World(frozenset(default - without | more), frozenset(joined), extents)


@st.composite
def _extents(draw: st.DrawFn) -> tuple[tuple[int, int, int], ...]:
    """Draw maps of ids that do not overlap, the first with root and tty (gid 5) in it; ids outside are nobody's."""
    found = []
    inside, outside = 0, shapes.FIRST_ID
    for size, gap in draw(
        st.lists(st.tuples(st.integers(6, shapes.IDS), st.integers(0, 1000)), min_size=1, max_size=3)
    ):
        found.append((inside, outside, size))
        inside, outside = inside + size + gap, outside + size + draw(st.integers(0, 1000))
    return tuple(found)


def _mappings(world: World) -> list[Config]:
    return [dict(zip(("containerID", "hostID", "size"), extent, strict=True)) for extent in world.extents]


def _ids(world: World) -> Strategy:
    """Return ids that there are inside."""
    if not world.mapped:
        return st.integers(0, 2**32 - 2)
    return st.one_of(*(st.integers(first, first + size - 1) for first, _outside, size in world.extents))


# --- the program ---

# Below these the kernel would stop the interpreter of the probes, not the container: it is the program's end.
LEAST = {
    "RLIMIT_AS": 1 << 30,
    "RLIMIT_CPU": 60,
    "RLIMIT_DATA": 1 << 30,
    "RLIMIT_NOFILE": 64,
    "RLIMIT_NPROC": 4096,
    "RLIMIT_RTTIME": 60_000_000,
    "RLIMIT_STACK": 1 << 20,
}


@st.composite
def _rlimits(draw: st.DrawFn, _world: World) -> list[Config]:
    """Draw limits that take no CAP_SYS_RESOURCE: none above the hard limit of this process. getrlimit(2)"""
    found = []
    for name in draw(st.lists(st.sampled_from(RLIMITS), unique=True, max_size=4)):
        most = resource.getrlimit(getattr(resource, name, RLIMITS.index(name)))[1] & (2**64 - 1)
        least = min(LEAST.get(name, 0), most)
        hard = draw(st.integers(least, most) | st.just(most))
        found.append({"type": name, "soft": draw(st.integers(least, hard)), "hard": hard})
    return found


@st.composite
def _capabilities(draw: st.DrawFn, world: World) -> Config:
    """Draw five sets that can be had together: capset(2), and what `harness.runtime.config.powerless` says."""
    held = CAPABILITIES if world.mapped else _held()

    def subset(of: list[str]) -> list[str]:
        return [name for name in of if draw(st.booleans())] if of else []

    few = sorted(draw(st.sets(st.sampled_from(held))), key=CAPABILITIES.index)
    bounding, permitted = (few, few) if draw(st.booleans()) else (subset(few), few)
    inheritable = subset([name for name in bounding if name in permitted])
    return {
        "bounding": bounding,
        "permitted": permitted,
        "effective": subset(permitted),
        "inheritable": inheritable,
        "ambient": subset(inheritable),
    }


@st.composite
def _scheduler(draw: st.DrawFn, world: World) -> Config:
    """Draw a policy, but none of realtime, for which a cgroup has no time that was not given any (RT_GROUP_SCHED)."""
    found: Config = {"policy": draw(st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"]))}
    if found["policy"] != "SCHED_IDLE" and draw(st.booleans()):
        found["nice"] = draw(st.integers(0 if world.mapped else -20, 19))
    return found


def _io_priority(world: World) -> Strategy:
    classes = ["IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", *([] if world.mapped else ["IOPRIO_CLASS_RT"])]
    return st.fixed_dictionaries({"class": st.sampled_from(classes), "priority": st.integers(0, 7)})


def _oom_scores(_world: World) -> Strategy:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    return st.integers(-1000 if "CAP_SYS_RESOURCE" in _held() else own, 1000)


# --- mounts ---

# What is there in every root and may be covered; the rest is the probes', or made by the runtime.
DIRECTORIES = ("/tmp", "/root", "/etc", "/dev/shm")
SOURCES = ("container.kit", "/usr", "/etc/passwd")
FLAGS = ("ro", "nosuid", "nodev", "noexec", "nosymfollow", "noatime", "nodiratime", "strictatime", "relatime")
LOCKED = (
    "noatime",
    "nodiratime",
    "strictatime",
    "relatime",
)  # of a bind mount, in a user namespace: mount_namespaces(7)


@st.composite
def _mounts(draw: st.DrawFn, world: World) -> list[Config]:
    places = draw(st.lists(_places(), unique=True, max_size=3))
    return [draw(_mount(world, path)) for path in places]


def _places() -> Strategy:
    return st.sampled_from(DIRECTORIES) | st.lists(NAMES, min_size=1, max_size=2).map("/".join).map("/tmp/{}".format)


@st.composite
def _mount(draw: st.DrawFn, world: World, path: str) -> Config:
    kinds = ["tmpfs", "bind"]
    kinds += ["proc"] if "pid" in world.own or not world.mapped else []
    kinds += ["mqueue"] if "ipc" in world.own or not world.mapped else []
    kind = draw(st.sampled_from(kinds))
    flags = draw(
        st.lists(st.sampled_from([flag for flag in FLAGS if kind == "tmpfs" or flag not in LOCKED]), unique=True)
    )
    if kind == "bind":
        source = draw(st.sampled_from(SOURCES[:2] if path in DIRECTORIES else SOURCES))
        options = [draw(st.sampled_from(["bind", "rbind"])), *flags]
    else:
        source = kind
        options = [*flags, *(draw(_tmpfs_options(world)) if kind == "tmpfs" else [])]
    return {"destination": path, "type": kind, "source": source, "options": options}


@st.composite
def _tmpfs_options(draw: st.DrawFn, world: World) -> list[str]:
    """Draw options that leave every user a way in, for a working directory may be there."""
    found = draw(
        st.lists(
            st.sampled_from(["size=1m", "size=4096k", "nr_inodes=64", "mode=755", "mode=1777"]),
            max_size=2,
            unique_by=lambda option: option.partition("=")[0],
        )
    )
    if draw(st.booleans()):
        found.append(f"uid={draw(_ids(world))}")
    return found


# --- cgroups ---


@st.composite
def _memory(draw: st.DrawFn, _world: World) -> Config:
    """Draw limits that the interpreter can live with, 64 MiB at least."""
    limit = draw(st.just(-1) | st.integers(64, 1 << 20).map(lambda count: count * MEBIBYTE))
    found: Config = {"limit": limit}
    if draw(st.booleans()):
        found["swap"] = -1 if limit == -1 else limit + draw(st.integers(0, 1024)) * MEBIBYTE
    if draw(st.booleans()):
        found["reservation"] = draw(st.integers(0, 1 << 20)) * MEBIBYTE
    if draw(st.booleans()):
        found["swappiness"] = draw(st.integers(0, 100))
    return found


@st.composite
def _cpu(draw: st.DrawFn, _world: World) -> Config:
    """Draw shares of at least half a CPU in each period, so that the probes come to their ends in time."""
    found: Config = {}
    if draw(st.booleans()):
        found["shares"] = draw(st.integers(2, 262_144))
    if draw(st.booleans()):
        found["period"] = draw(st.integers(2000, 1_000_000))
        found["quota"] = draw(st.just(-1) | st.integers(found["period"] // 2, 2 * found["period"]))
    if draw(st.booleans()):
        found["cpus"] = draw(st.sampled_from([str(cpu) for cpu in sorted(os.sched_getaffinity(0))]))
    if draw(st.booleans()):
        found["mems"] = "0"
    return found


def _tasks(_world: World) -> Strategy:
    return st.fixed_dictionaries({"limit": st.sampled_from([-1, 0]) | st.integers(64, 2**22)})


@st.composite
def _rates(draw: st.DrawFn, _world: World) -> list[Config]:
    devices = [line.split()[:2] for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    if not devices:
        return []
    major, minor = draw(st.sampled_from(devices))
    return [{"major": int(major), "minor": int(minor), "rate": draw(st.integers(0, 2**32))}]


# --- the rest of linux ---

SYSCTLS = {
    "ipc": {"kernel.shmmni": "100", "kernel.msgmax": "4096", "fs.mqueue.msg_max": "20"},
    "network": {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "128"},
    "user": {"user.max_ipc_namespaces": "7"},
}
COVERED = ("/proc/kcore", "/proc/keys", "/proc/sched_debug", "/sys/firmware", "/tmp", "/root", "/absent", "/etc/absent")


def _sysctls(world: World) -> Strategy:
    known = {name: value for kind in sorted(world.own & set(SYSCTLS)) for name, value in SYSCTLS[kind].items()}
    if not known:
        return st.just({})
    return st.lists(st.sampled_from(sorted(known)), unique=True).map(
        lambda names: {name: known[name] for name in names}
    )


def _offsets(world: World) -> Strategy:
    if "time" not in world.own:
        return st.just({})
    clock = st.fixed_dictionaries(
        {}, optional={"secs": st.integers(-1, 10**9), "nanosecs": st.integers(0, 999_999_999)}
    )
    return st.fixed_dictionaries({}, optional={"monotonic": clock, "boottime": clock})


def _memory_policies(_world: World) -> Strategy:
    nodes = st.sampled_from(["0", "0-0"])
    with_nodes = st.sampled_from(["MPOL_BIND", "MPOL_PREFERRED", "MPOL_INTERLEAVE", "MPOL_PREFERRED_MANY"])
    flags = st.lists(st.sampled_from(sorted(set(MEMORY_POLICY_FLAGS) - {"MPOL_F_NUMA_BALANCING"})), max_size=1)
    return st.fixed_dictionaries({"mode": st.sampled_from(["MPOL_DEFAULT", "MPOL_LOCAL"])}) | st.fixed_dictionaries(
        {"mode": with_nodes, "nodes": nodes, "flags": flags}
    )


def _hostnames(world: World) -> Strategy:
    return st.text("ab-.0", min_size=1, max_size=8) if "uts" in world.own else st.just("")


@st.composite
def _devices(draw: st.DrawFn, world: World) -> list[Config]:
    """Draw nodes; in a user namespace only FIFOs, for others are the host's there."""
    found = []
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        kind = "p" if world.mapped else draw(st.sampled_from(["c", "b", "u", "p"]))
        node: Config = {"path": f"/dev/{name}", "type": kind}
        if kind != "p":
            node |= {"major": draw(values(KINDS["linux.devices[].major"])), "minor": draw(st.integers(0, 2**20 - 1))}
        if draw(st.booleans()):
            node["fileMode"] = draw(st.integers(0, 0o777))
        if draw(st.booleans()):
            node |= {"uid": draw(_ids(world)), "gid": draw(_ids(world))}
        found.append(node)
    return found


@st.composite
def _device_rules(draw: st.DrawFn, _world: World) -> list[Config]:
    return draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "allow": st.booleans(),
                    "type": st.sampled_from("cb"),
                    "major": st.integers(0, 300),
                    "minor": st.integers(-1, 300),
                    "access": st.sampled_from(["r", "rw", "rwm"]),
                }
            ),
            max_size=2,
        ).map(lambda rules: [{"allow": False, "access": "rwm"}, *rules])
    )


def _seccomp(_world: World) -> Strategy:
    """Return profiles that deny what no probe does."""
    names = st.lists(st.sampled_from(["swapon", "swapoff", "acct", "reboot", "settimeofday"]), unique=True, min_size=1)
    action = st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"])
    rule = st.fixed_dictionaries({"names": names, "action": action})
    return st.fixed_dictionaries(
        {"defaultAction": st.just("SCMP_ACT_ALLOW")}, optional={"syscalls": st.lists(rule, max_size=2)}
    )


def _hooks(_world: World) -> Strategy:
    """Return hooks that come to a good end: true(1) on the host, and inside a look at a program of the kit."""
    hook = st.fixed_dictionaries(
        {"path": st.just("/bin/true")},
        optional={
            "args": st.lists(TEXTS, max_size=2),
            "env": st.lists(values(Assignment()), max_size=2),
            "timeout": st.integers(5, 99),
        },
    )
    loader = {"path": f"{shapes.KIT}/lib/loader", "args": ["loader", "--verify", f"{shapes.KIT}/bin/python"]}
    points = {path.split(".")[1].removesuffix("[]") for path in KINDS if path.startswith("hooks.")}
    return st.fixed_dictionaries(
        {},
        optional={
            point: st.just([loader]) if point == "startContainer" else st.lists(hook, min_size=1, max_size=2)
            for point in sorted(points)
        },
    )


# --- all of it ---

WORDS = ("tmpfs", "bind", "ro", "5", "memory.high", "read")  # texts that mean something in one field or another

# The rules across fields, and what is no good to a container that is to say what it sees, by their paths in the table.
RULES: dict[str, Callable[[World], Strategy]] = {
    "ociVersion": lambda _world: st.sampled_from(["1.0.2", "1.1.0", "1.2.0"]),
    "root.path": lambda _world: st.just("container.rootfs"),
    "hostname": _hostnames,
    "domainname": _hostnames,
    "process.args": lambda _world: st.just([shapes.COMMAND]),
    "process.cwd": lambda _world: st.sampled_from(["/", "/tmp", "/proc", "/dev/shm", "/usr/made"][:4]),
    "process.consoleSize": lambda _world: _whole_section("process.consoleSize"),
    "process.user": lambda world: st.fixed_dictionaries(
        {"uid": _ids(world), "gid": _ids(world)},
        optional={"umask": st.integers(0, 0o777), "additionalGids": st.lists(_ids(world), max_size=3)},
    ),
    "process.capabilities": _capabilities,
    "process.rlimits": _rlimits,
    "process.oomScoreAdj": _oom_scores,
    "process.scheduler": _scheduler,
    "process.ioPriority": _io_priority,
    "process.landlock": lambda _world: st.fixed_dictionaries(
        {"ruleset": st.fixed_dictionaries({"scoped": st.just(["signal"])})}
    ),
    "mounts": _mounts,
    "linux.personality": lambda _world: _whole_section("linux.personality"),
    "linux.timeOffsets": _offsets,
    "linux.veth": lambda world: st.just([{"name": "eth0", "hostName": "cell0"}] if "network" in world.own else []),
    "linux.memoryPolicy": _memory_policies,
    "linux.maskedPaths": lambda _world: st.lists(st.sampled_from(COVERED), unique=True),
    "linux.readonlyPaths": lambda _world: st.lists(st.sampled_from(COVERED), unique=True),
    "linux.sysctl": _sysctls,
    "linux.devices": _devices,
    "linux.cgroupsPath": lambda _world: st.sampled_from(
        ["isoproof-random", "isoproof-random/inner", "/isoproof-random"]
    ),
    "linux.resources.devices": _device_rules,
    "linux.resources.memory": _memory,
    "linux.resources.pids": _tasks,
    "linux.resources.cpu": _cpu,
    "linux.resources.blockIO": lambda world: st.fixed_dictionaries({"throttleReadBpsDevice": _rates(world)}),
    "linux.resources.unified": lambda _world: st.fixed_dictionaries({"cgroup.max.depth": st.integers(0, 9).map(str)}),
    "linux.seccomp": _seccomp,
    "hooks": _hooks,
    "annotations": lambda _world: st.fixed_dictionaries(
        {}, optional={"isoproof.init": st.sampled_from(["false", "true"]), "org.example": TEXTS}
    ),
}
MADE_BY_WORLD = {"linux.namespaces", "linux.uidMappings", "linux.gidMappings"}
# What this kernel or this machine has none of, most likely, so that the start is refused: one of these is enough.
RARE = {
    "process.apparmorProfile",
    "process.selinuxLabel",
    "process.landlock",
    "linux.netDevices",
    "linux.resources.hugepageLimits",
    "linux.resources.network",
    "linux.resources.rdma",
}


def _part(path: str) -> str:
    """Return the part of a config that a field is drawn with: `process.user`, `linux.resources.memory`, `mounts`."""
    words = path.split(".")
    depth = 3 if path.startswith("linux.resources.") else 2 if words[0] in ("root", "process", "linux") else 1
    return ".".join(words[:depth]).partition("[")[0]


PARTS = [part for part in dict.fromkeys(_part(field.path) for field in FIELDS) if part not in MADE_BY_WORLD]


def _section(path: str, world: World) -> Strategy:
    """Return values of what stands at a path of the table: by its rule, by its kind, or by what is below it."""
    if path in RULES:
        return RULES[path](world)
    if path in KINDS:
        return values(KINDS[path])
    below = sorted({_next(path, field.path) for field in FIELDS} - {""})
    if below == ["[]"]:
        item = _section(f"{path}[]", world)
        return st.just([]) if item.is_empty else st.lists(item, max_size=3)
    if below == ["*"]:
        return st.dictionaries(NAMES, _section(f"{path}.*", world), max_size=2)
    return st.fixed_dictionaries({}, optional={key: _section(f"{path}.{key}", world) for key in below})


def _next(above: str, path: str) -> str:
    """Return the step from a path of the table towards another one: a key, `[]`, `*`, or nothing."""
    rest = path.removeprefix(above)
    if rest == path or rest[:1] not in ("[", "."):
        return ""
    return "[]" if rest.startswith("[]") else rest[1:].split(".")[0].split("[")[0]


def _whole_section(path: str) -> Strategy:
    """Return objects that need all of their fields."""
    return st.fixed_dictionaries(
        {
            key: _section(f"{path}.{key}", World(frozenset(), frozenset(), ()))
            for key in sorted({_next(path, field.path) for field in FIELDS} - {""})
        }
    )


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Draw a config that can be run in the outer sandbox by root; some of them are refused there, by name.

    Paths are those that the host role knows: `container.rootfs`, `container.kit`.
    """
    world = draw(_worlds())
    config = shapes.config([Container()], 0, 0)
    _fit_mounts(config, world)
    default = [entry["type"] for entry in config["linux"]["namespaces"]]
    order = sorted(world.own, key=[*default, *NAMESPACES].index)
    config["linux"]["namespaces"] = [{"type": name} for name in order]
    config["linux"]["namespaces"] += [
        {"type": name, "path": f"/proc/self/ns/{_file(name)}"} for name in sorted(world.joined)
    ]
    if world.mapped:
        config["linux"] |= {"uidMappings": _mappings(world), "gidMappings": _mappings(world)}
    if "uts" not in world.own:
        del config["hostname"]
    usual = [part for part in PARTS if part not in RARE]
    chosen = draw(st.lists(st.sampled_from(usual), unique=True, max_size=10))
    if draw(st.integers(0, 19)) == 19:
        chosen.append(draw(st.sampled_from(sorted(RARE))))
    for part in chosen:
        _put(config, part, draw(_section(part, world)))
    return config


def _fit_mounts(config: Config, world: World) -> None:
    """Take those of the host where the kernel makes none: in a user namespace that does not own what they show."""
    if not world.mapped:
        return
    for mount in config["mounts"]:
        if (
            mount["destination"] in ("/proc", "/sys")
            and {"/proc": "pid", "/sys": "network"}[mount["destination"]] not in world.own
        ):
            mount |= {"type": "bind", "source": mount["destination"], "options": ["rbind", "nosuid", "noexec", "nodev"]}
    if "ipc" not in world.own:
        config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "mqueue"]


def _file(name: str) -> str:
    return {"mount": "mnt", "network": "net"}.get(name, name)


def _put(config: Config, part: str, value: Any) -> None:
    """Put a part in its place; mounts come after those that are there."""
    *above, last = part.split(".")
    for word in above:
        config = config.setdefault(word, {})
    if part == "mounts":
        config["mounts"] += value
    elif value == "" and last in config:
        del config[last]
    else:
        config[last] = value


@st.composite
def any_configs(draw: st.DrawFn) -> Config:
    """Draw an example with some fields set as the table allows, whether they go together or not."""
    config = example(0, 0)
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=8)):
        right = values(field.kind) | (st.sampled_from(WORDS) if type(field.kind) is Text else st.nothing())
        if not right.is_empty:
            place(config, field.path, draw(right))
    return config


@st.composite
def wrong_configs(draw: st.DrawFn) -> Config:
    """Draw one of those with one field set as the table does not allow."""
    config = draw(any_configs())
    field = draw(st.sampled_from(FIELDS))
    place(config, field.path, draw(st.sampled_from(wrong_values(field.kind))))
    return config
