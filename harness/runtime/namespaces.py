"""Namespaces: the views of the kernel that a container does not share. namespaces(7)."""

from harness.runtime.config import NAMESPACES, Config, namespaces
from harness.runtime.step import Call, Step
from harness.runtime.syscalls import CLONE


def clone_flags(config: Config) -> CLONE:
    """Return the namespaces that the child is born into.

    All but the cgroup namespace, which takes the cgroup at its birth for its root and so has to wait for the join.
    """
    flags = CLONE(0)
    for name in namespaces(config) - {"cgroup"}:
        flags |= NAMESPACES[name]
    return flags


def enter_cgroup_namespace(config: Config) -> list[Step]:
    """Make the cgroup that has just been joined the root of what the container sees of cgroups."""
    if "cgroup" not in namespaces(config):
        return []
    calls = (Call("unshare", (CLONE.NEWCGROUP,)),)
    return [Step("cgroup-namespace", "the own cgroup becomes / of all cgroup paths: cgroup_namespaces(7)", calls)]


def set_names(config: Config) -> list[Step]:
    """Give the container names of its own; a new UTS namespace begins with those of the host."""
    steps = []
    for name, field in (("sethostname", "hostname"), ("setdomainname", "domainname")):
        value = config.get(field)
        if value:
            calls = (Call(name, (value, len(value.encode()))),)
            steps.append(Step(field, f"a new UTS namespace begins with the host's {field}: uts_namespaces(7)", calls))
    return steps
