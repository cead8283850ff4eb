"""Namespaces: the views of the kernel that a container does not share. namespaces(7)."""

from harness.runtime.config import Config, joined, own
from harness.runtime.errors import ConfigError
from harness.runtime.fields import NAMESPACES
from harness.runtime.privileges import UNDUMPABLE
from harness.runtime.step import Call, Host, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, CLONE, O

OFFSETS = "/proc/self/timens_offsets"


def check(config: Config, host: Host) -> None:
    """Raise ConfigError where a joined namespace is the launcher's own and the host would be changed through it."""
    for field in ("hostname", "domainname"):
        if config.get(field) and "uts" in host.shared:
            raise ConfigError(
                f"config.json: {field}: the uts namespace to join is the launcher's, which would be renamed"
            )


def clone_flags(config: Config) -> CLONE:
    """Return the namespaces that the child is born into; all of them are owned by its user namespace: clone(2).

    The cgroup namespace takes the cgroup at its birth for its root and so has to wait for the join. Neither can a time
    namespace with offsets be one to be born into: they are frozen when the first task enters.
    """
    flags = CLONE(0)
    for name in own(config) - {"cgroup"}:
        flags |= NAMESPACES[name]
    return flags & ~CLONE.NEWTIME if _offsets(config) else flags


def enter(config: Config, host: Host) -> list[Step]:
    """Join the namespaces that are there already.

    All are opened first, while the caller still has its rights over the processes whose namespaces they are. Root, who
    has rights over every namespace, loses them in a joined user namespace, so that comes last; an ordinary user gains
    them there, so it comes first. A PID namespace is entered by children only: the child's. Whoever lives in these
    namespaces may have rights over us, too, and must not reach through us for what we still hold of the host.
    """
    paths = joined(config)
    if not paths:
        return []
    names = sorted(paths, key=lambda name: (name == "user") != host.rootless)
    flags = O.CLOEXEC | O.NONBLOCK
    opened = tuple(Call("openat", (AT_FDCWD, paths[name], flags), saves=f"{name}-namespace") for name in names)
    steps = [
        Step("open-namespaces", "before a joined one takes away the right to: namespaces(7)", opened),
        Step(
            "undumpable",
            "those inside may trace what they meet there, but not this: PR_SET_DUMPABLE(2const)",
            (UNDUMPABLE,),
        ),
    ]
    for name in names:
        descriptor = Saved(f"{name}-namespace")
        calls = (Call("setns", (descriptor, NAMESPACES[name])), Call("close", (descriptor,)))
        steps.append(Step(f"enter:{name}", "there already, so neither made nor set up here: setns(2)", calls))
    return steps


def enter_cgroup_namespace(config: Config) -> list[Step]:
    """Make the cgroup that has just been joined the root of what the container sees of cgroups."""
    if "cgroup" not in own(config):
        return []
    calls = (Call("unshare", (CLONE.NEWCGROUP,)),)
    return [Step("cgroup-namespace", "the own cgroup becomes / of all cgroup paths: cgroup_namespaces(7)", calls)]


def set_time_offsets(config: Config) -> list[Step]:
    """Make a time namespace, set its clocks, and only then enter it, for that freezes them."""
    lines = _offsets(config)
    if not lines:
        return []
    calls = (
        Call("unshare", (CLONE.NEWTIME,)),
        Call("openat", (AT_FDCWD, OFFSETS, O.WRONLY | O.CLOEXEC), saves="file"),
        Call("write", (Saved("file"), lines, len(lines))),
        Call("close", (Saved("file"),)),
        Call("openat", (AT_FDCWD, "/proc/self/ns/time_for_children", O.CLOEXEC), saves="time"),
        Call("setns", (Saved("time"), CLONE.NEWTIME)),
        Call("close", (Saved("time"),)),
    )
    return [Step("time-offsets", "while nobody is in the namespace, which freezes them: time_namespaces(7)", calls)]


def _offsets(config: Config) -> str:
    """Return the lines of timens_offsets; none where no clock is to be shifted."""
    clocks = config.get("linux", {}).get("timeOffsets", {})
    return "".join(
        f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n" for clock, offset in sorted(clocks.items())
    )


def set_names(config: Config) -> list[Step]:
    """Give the container names of its own; a new UTS namespace begins with those of the host."""
    steps = []
    for name, field in (("sethostname", "hostname"), ("setdomainname", "domainname")):
        value = config.get(field)
        if value:
            calls = (Call(name, (value, len(value.encode()))),)
            steps.append(Step(field, f"a new UTS namespace begins with the host's {field}: uts_namespaces(7)", calls))
    return steps
