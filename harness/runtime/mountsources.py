"""Where mounts come from: all are taken or made while the host's tree is in sight, as detached mounts. open_tree(2).

A clone made then still belongs to the peer group of its source, so `rslave` and `rshared` can mean what they say; paths
in options (`lowerdir`) and sources (`/dev/vdb`) mean the host's, not what the image has there; procfs and sysfs are
allowed in a user namespace only while a full one is in sight.
"""

from collections.abc import Iterable

from harness.runtime import cgroup, devices, idmap, terminal
from harness.runtime.config import Config, joined, namespaces
from harness.runtime.errors import ConfigError
from harness.runtime.mountoptions import Options, parse, propagates_later
from harness.runtime.step import Call, Filled, Host, Packed, Record, Saved, Step
from harness.runtime.syscalls import (
    AT,
    AT_FDCWD,
    CLONE,
    F_DUPFD_CLOEXEC,
    FSCONFIG,
    FSMOUNT,
    FSOPEN,
    MOUNT_ATTR,
    MS,
    OPEN_TREE,
    O,
    mount_attr,
)

LOWEST_FREE = 10  # what the child inherits must be above the descriptors that it arranges for itself


def handle(config: Config, index: int) -> str:
    """Return the name under which a mount is kept until it is attached."""
    return kept(config).get(index, f"mount{index}")


def kept(config: Config) -> dict[int | None, str]:
    """Return the names of those mounts that later steps ask for by their descriptors, when they are attached."""
    return {devices.own(config): devices.DIRECTORY, terminal.instance(config): terminal.INSTANCE}


def cgroup_handle(index: int) -> str:
    """Return the name under which one of several cgroup hierarchies is kept until it is attached."""
    return f"cgroup{index}"


def open_idmapped(config: Config, host: Host) -> list[Step]:
    """Take the host's mounts that show other owners than are on the disk. user_namespaces(7), mount_setattr(2).

    Only who has rights over the file system may do that, so not the child in its own user namespace; it inherits what
    is opened here. The map has to be that of a user namespace, and where none of the container's has it, one is made
    for as long as it takes.
    """
    steps = []
    for index, mount in enumerate(config.get("mounts", [])):
        options = parse(mount)
        if not options.idmap:
            continue
        maps = mount if "uidMappings" in mount else config["linux"]
        holder: CLONE | None = None
        mapped: tuple[Call, ...] = ()
        namespace: str | Filled = joined(config).get("user", "")
        if "uidMappings" in maps:
            holder = CLONE.NEWUSER
            for kind in ("uid", "gid"):
                mapped += idmap.write(Filled(f"/proc/{{holder}}/{kind}_map"), idmap.lines(maps[f"{kind}Mappings"]))
            namespace = Filled("/proc/{holder}/ns/user")
        attributes = Record(
            (("Q", MOUNT_ATTR.IDMAP), ("Q", 0), ("Q", 0), ("Q", Saved("user-namespace"))),
        )
        deep = AT.RECURSIVE if options.idmap_recursive else AT(0)
        taken = Saved("taken")
        calls = (
            *mapped,
            Call("openat", (AT_FDCWD, namespace, O.CLOEXEC), saves="user-namespace"),
            _take(mount["source"], options, "taken"),
            Call("mount_setattr", (taken, "", deep | AT.EMPTY_PATH, attributes, attributes.size)),
            *tune("taken", options, propagates_later(config, index)),
            Call("close", (Saved("user-namespace"),)),
            Call("fcntl", (taken, F_DUPFD_CLOEXEC, LOWEST_FREE), saves=handle(config, index)),
            Call("close", (taken,)),
        )
        why = "owners on the disk become others in the container: mount_setattr(2)"
        undo = (Call("close", (Saved(handle(config, index)),)),)
        steps.append(Step(f"idmap:{mount['destination']}", why, calls, undo, holder=holder))
    return steps


def check_idmap(config: Config, host: Host, mount: Config) -> None:
    """Hold a mount with an id map of its own to what the kernel can do.

    Raises ConfigError.
    """
    field = f"config.json: mounts: {mount['destination']}"
    if not parse(mount).bind:
        raise ConfigError(f"{field}: only a bind mount can have an id map")
    if host.rootless:
        raise ConfigError(f"{field}: an id map takes rights over the file system, which an ordinary user has not")
    if ("uidMappings" in mount) != ("gidMappings" in mount):
        raise ConfigError(f"{field}: needs both uidMappings and gidMappings, or neither")
    if "uidMappings" not in mount and "user" not in namespaces(config):
        raise ConfigError(f"{field}: idmap needs uidMappings and gidMappings, or a user namespace that has them")
    for kind in ("uid", "gid"):
        idmap.check_extents(f"{field}: {kind}Mappings", mount.get(f"{kind}Mappings", []))


def open_sources(config: Config, host: Host) -> list[Step]:
    """Take or make, as detached mounts, what the container gets to see, but what has been opened before the child."""
    steps = []
    for index, mount in enumerate(config.get("mounts", [])):
        options = parse(mount)
        name = handle(config, index)
        if options.remount or options.idmap:
            continue
        later = propagates_later(config, index)
        if options.bind:
            calls: tuple[Call, ...] = (_take(mount["source"], options, name), *tune(name, options, later))
            why = "a mount of the host's, to be attached later: open_tree(2)"
        elif mount["type"] == "cgroup":
            calls = _cgroups(config, host, options)
            why = (
                "as the container's cgroup namespace has it, or else bound, its own cgroup alone: cgroup_namespaces(7)"
            )
        else:
            calls = make(mount["type"], mount.get("source", mount["type"]), options.data, name) + tune(
                name, options, later
            )
            why = "while paths are the host's, and a full procfs and sysfs in sight: fsmount(2), mount_namespaces(7)"
        steps.append(Step(f"open:{mount['destination']}", why, calls))
    return steps


def pure(host: Host) -> bool:
    """Return whether version 2 is the only cgroup hierarchy, which then needs no tmpfs to hold several."""
    return len(host.hierarchies) == 1 and host.hierarchies[0].version == 2


def _cgroups(config: Config, host: Host, options: Options) -> tuple[Call, ...]:
    """Return the calls that take or make all cgroup hierarchies of the host, and a tmpfs to hold them."""
    calls: tuple[Call, ...] = ()
    if not pure(host):
        calls += make("tmpfs", "tmpfs", ["mode=755", "size=64k"], "cgroups")
    made = cgroup.used(config, host)
    for index, hierarchy in enumerate(host.hierarchies):
        name = cgroup_handle(index)
        if "cgroup" in namespaces(config):
            kind = "cgroup2" if hierarchy.version == 2 else "cgroup"
            calls += make(kind, kind, hierarchy.options, name)
        else:
            own = cgroup.directory(hierarchy, config, host) if hierarchy in made else hierarchy.own
            calls += (_take(own, Options(), name),)
        calls += tune(name, options)
    return calls


def _take(source: str, options: Options, name: str) -> Call:
    """Return the call that clones a mount of the host's, with those below it where the config says so."""
    flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | (AT.RECURSIVE if options.recursive else AT(0))
    return Call("open_tree", (AT_FDCWD, source, flags), saves=name)


def make(kind: str, source: str, data: Iterable[str], name: str) -> tuple[Call, ...]:
    """Return the calls that make a new file system and keep it as a detached mount under a name."""
    context = Saved("context")
    calls = [Call("fsopen", (kind, FSOPEN.CLOEXEC), saves="context")]
    if source:
        calls.append(Call("fsconfig", (context, FSCONFIG.SET_STRING, "source", source, 0)))
    for option in data:
        key, equals, value = option.partition("=")
        if equals:
            calls.append(Call("fsconfig", (context, FSCONFIG.SET_STRING, key, value, 0)))
        else:
            calls.append(Call("fsconfig", (context, FSCONFIG.SET_FLAG, key, None, 0)))
    calls.append(Call("fsconfig", (context, FSCONFIG.CMD_CREATE, None, None, 0)))
    calls.append(Call("fsmount", (context, FSMOUNT.CLOEXEC, 0), saves=name))
    calls.append(Call("close", (context,)))
    return tuple(calls)


def tune(name: str, options: Options, propagates_later: bool = False) -> tuple[Call, ...]:
    """Return the calls that give a mount its attributes and its propagation, or have it private until later."""
    calls = []
    if options.recursive_set or options.recursive_clr:
        calls.append(set_attributes(name, AT.RECURSIVE, options.recursive_set, options.recursive_clr))
    if options.attr_set or options.attr_clr:
        calls.append(set_attributes(name, AT(0), options.attr_set, options.attr_clr))
    if options.propagation and not propagates_later:
        deep = AT.RECURSIVE if options.propagation_recursive else AT(0)
        calls.append(set_attributes(name, deep, propagation=options.propagation))
    elif not options.remount:
        calls.append(set_attributes(name, AT.RECURSIVE, propagation=MS.PRIVATE))
    return tuple(calls)


def attributes(
    where: int | Saved,
    deep: AT,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: MS = MS(0),
    path: str = "",
) -> tuple[int | Saved, str, int, Packed, int]:
    """Return the arguments of mount_setattr(2)."""
    flags = deep if path else deep | AT.EMPTY_PATH
    words = [f"attr_set={MOUNT_ATTR(attr_set)}"] if attr_set else []
    words += [f"attr_clr={MOUNT_ATTR(attr_clr)}"] if attr_clr else []
    words += [f"propagation={propagation}"] if propagation else []
    packed = Packed(mount_attr(attr_set, attr_clr, propagation), ", ".join(words))
    return where, path, flags, packed, len(packed.value)


def set_attributes(name: str, deep: AT, attr_set: int = 0, attr_clr: int = 0, propagation: MS = MS(0)) -> Call:
    """Return the call that changes a mount that is kept under a name."""
    return Call("mount_setattr", attributes(Saved(name), deep, attr_set, attr_clr, propagation))
