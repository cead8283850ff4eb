"""The user namespace: which ids inside are which ids outside. user_namespaces(7)."""

import os

from harness.runtime.config import Config, joined, namespaces, own
from harness.runtime.errors import ConfigError
from harness.runtime.step import Call, Filled, Host, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O

MOST_EXTENTS = 340
LAST_ID = 2**32 - 2


def check(config: Config) -> None:
    """Hold the id maps to what the kernel accepts, and the user to the maps.

    Raises ConfigError for the first that is wrong.
    """
    if "user" not in own(config):
        return
    user = config["process"].get("user", {})
    ids = {
        "uid": [("uid", user.get("uid", 0))],
        "gid": [("gid", user.get("gid", 0))]
        + [(f"additionalGids[{index}]", gid) for index, gid in enumerate(user.get("additionalGids", []))],
    }
    for kind in ("uid", "gid"):
        field = f"config.json: linux.{kind}Mappings"
        extents = config["linux"][f"{kind}Mappings"]
        check_extents(field, extents)
        for name, wanted in ids[kind]:
            if not any(extent["containerID"] <= wanted < extent["containerID"] + extent["size"] for extent in extents):
                raise ConfigError(f"config.json: process.user.{name}: {wanted} is not mapped by linux.{kind}Mappings")


def check_extents(field: str, extents: list[Config]) -> None:
    """Hold one id map to what the kernel accepts.

    Raises ConfigError, with the name of the field.
    """
    if len(extents) > MOST_EXTENTS or len(lines(extents)) >= os.sysconf("SC_PAGE_SIZE"):
        raise ConfigError(f"{field}: more than the {MOST_EXTENTS} lines, or the one page, that the kernel takes")
    for index, extent in enumerate(extents):
        for side in ("containerID", "hostID"):
            if extent[side] + extent["size"] - 1 > LAST_ID:
                raise ConfigError(f"{field}[{index}].size: goes beyond the last id, {LAST_ID}")
            for before, other in enumerate(extents[:index]):
                if extent[side] < other[side] + other["size"] and other[side] < extent[side] + extent["size"]:
                    raise ConfigError(f"{field}[{index}].{side}: overlaps with entry {before}")


def write_maps(config: Config, host: Host) -> list[Step]:
    """Write the id maps of the child, which waits for them: until they stand it is nobody in its own namespace.

    An ordinary user may map his own id by himself and everything else only through newuidmap(1) and newgidmap(1).
    """
    if "user" not in own(config):
        return []
    steps = []
    if setgroups_denied(config, host):
        why = "an ordinary user may map a group only after giving up setgroups(2): user_namespaces(7)"
        steps.append(Step("deny-setgroups", why, write(Filled("/proc/{pid}/setgroups"), "deny")))
    for kind in ("gid", "uid"):
        extents = config["linux"][f"{kind}Mappings"]
        if _by_himself(kind, config, host):
            why = f"until then every {kind} of the child is the overflow {kind}: user_namespaces(7)"
            steps.append(Step(f"{kind}-map", why, write(Filled(f"/proc/{{pid}}/{kind}_map"), lines(extents))))
        else:
            why = f"only /etc/sub{kind} lets an ordinary user map more than his own {kind}: new{kind}map(1)"
            program = (f"new{kind}map", "{pid}", *lines(extents).split())
            steps.append(Step(f"{kind}-map", why, (), program=program))
    return steps


def setgroups_denied(config: Config, host: Host) -> bool:
    """Return whether the container has to do without setgroups(2)."""
    return "user" in own(config) and host.rootless and _by_himself("gid", config, host)


def may_be_denied(config: Config, host: Host) -> bool:
    """Return whether a joined user namespace may lack setgroups(2), because an ordinary user has made it."""
    return host.rootless and "user" in joined(config)


def launcher_may_more(config: Config, host: Host) -> bool:
    """Return whether the launcher has rights in the first user namespace, which nobody in another one has."""
    return "user" in namespaces(config) and not host.rootless


def _by_himself(kind: str, config: Config, host: Host) -> bool:
    """Return whether the kernel lets the caller write this map, instead of a program with more rights."""
    extents = config["linux"][f"{kind}Mappings"]
    his = host.uid if kind == "uid" else host.gid
    return not host.rootless or [(extent["hostID"], extent["size"]) for extent in extents] == [(his, 1)]


def lines(extents: list[Config]) -> str:
    """Return an id map as its file takes it."""
    return "".join(f"{extent['containerID']} {extent['hostID']} {extent['size']}\n" for extent in extents)


def write(path: Filled, text: str) -> tuple[Call, ...]:
    """Return the calls that write one of these files, all at once as they want it."""
    opened = Saved("map")
    return (
        Call("openat", (AT_FDCWD, path, O.WRONLY | O.CLOEXEC), saves="map"),
        Call("write", (opened, text, len(text))),
        Call("close", (opened,)),
    )


def become_root(config: Config) -> list[Step]:
    """Take an id that is mapped; groups first, for afterwards there may be no right to."""
    if "user" not in namespaces(config):
        return []
    linux = config["linux"]
    uid, gid = _first(linux.get("uidMappings", [])), _first(linux.get("gidMappings", []))
    calls = (Call("setresgid", (gid, gid, gid)), Call("setresuid", (uid, uid, uid)))
    return [
        Step("mapped-ids", "what is made from here on belongs to the container's own ids: user_namespaces(7)", calls)
    ]


def _first(extents: list[Config]) -> int:
    """Return 0 where it is mapped, for whoever sets up a container expects to be root in it, else the first id.

    The maps of a joined namespace are not ours to know; there it is 0.
    """
    return min((extent["containerID"] for extent in extents), default=0)
