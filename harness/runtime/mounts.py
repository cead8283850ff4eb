"""The mount namespace: a tree of the container's own, and no way back to the host's. mount_namespaces(7).

The order is what makes it safe. Everything that must be taken from the host's tree is opened first, as detached mounts
(open_tree(2), fsmount(2)). Then the root is switched and the host's tree let go. Only after that are the mounts put in
their places: the paths of the image, symlinks and all, are then resolved by the kernel in a tree that has no outside.
"""

import errno
import os.path

from harness.runtime import cgroup, devices, terminal
from harness.runtime.config import Config, namespaces
from harness.runtime.errors import ConfigError
from harness.runtime.mountoptions import PROPAGATION, Options, parse
from harness.runtime.step import Call, Host, Packed, Saved, Step
from harness.runtime.syscalls import (
    AT,
    AT_FDCWD,
    FSCONFIG,
    FSMOUNT,
    FSOPEN,
    MNT,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    S_IFREG,
    mount_attr,
)

DETACHED_ROOT = "root"


def check(config: Config) -> None:
    """Hold the mounts of a config to what this module can do.

    Raises ConfigError for the first mount that is wrong.
    """
    for mount in config.get("mounts", []):
        options = parse(mount)
        destination = mount["destination"]
        if options.bind and not mount.get("source", "").startswith("/"):
            raise ConfigError(f"config.json: mounts: {destination}: a bind mount needs an absolute path as its source")
        if not options.bind and not mount.get("type"):
            raise ConfigError(f"config.json: mounts: {destination}: neither a type nor the option bind")
        if os.path.normpath(destination) == "/":
            raise ConfigError("config.json: mounts: /: the root itself is named by root.path")


def open_root(host: Host) -> Step:
    """Take the image's tree as a detached mount that only this process holds."""
    calls = (
        Call(
            "open_tree",
            (AT_FDCWD, host.rootfs, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE),
            saves=DETACHED_ROOT,
        ),
        _set_attributes(DETACHED_ROOT, AT.RECURSIVE, propagation=MS.PRIVATE),
    )
    return Step("open-root", "while the host's tree is still there to take it from: open_tree(2)", calls)


def open_sources(config: Config, host: Host) -> list[Step]:
    """Open, as detached mounts, whatever the container gets from the host or what needs the host's /proc to be visible.

    A clone made now still belongs to the peer group of its source, so `rslave` and `rshared` can mean what they say.
    procfs and sysfs are made now because in a user namespace the kernel only allows them while a full one is in sight.
    """
    steps = []
    for index, mount in enumerate(config.get("mounts", [])):
        options = parse(mount)
        calls: tuple[Call, ...] = ()
        if options.bind:
            deep = AT.RECURSIVE if options.recursive else AT(0)
            flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | deep
            calls = (
                Call("open_tree", (AT_FDCWD, mount["source"], flags), saves=_handle(index)),
                *_tune(_handle(index), options),
            )
            why = "a mount of the host's, to be attached later: open_tree(2)"
        elif mount["type"] in ("proc", "sysfs"):
            calls = _make(mount["type"], mount.get("source", mount["type"]), options.data, _handle(index)) + _tune(
                _handle(index), options
            )
            why = "in a user namespace only allowed while a full one is in sight: mount_namespaces(7)"
        elif mount["type"] == "cgroup" and "cgroup" not in namespaces(config):
            made = cgroup.used(config, host)
            directories = [
                cgroup.directory(hierarchy, config, host) if hierarchy in made else hierarchy.own
                for hierarchy in host.hierarchies
            ]
            flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC
            calls = tuple(
                Call("open_tree", (AT_FDCWD, path, flags), saves=_cgroup_handle(at))
                for at, path in enumerate(directories)
            )
            why = "without a cgroup namespace only the own cgroup may show, so it is bound: cgroup_namespaces(7)"
        if calls:
            steps.append(Step(f"open:{mount['destination']}", why, calls))
    return steps


def stop_propagation() -> Step:
    """Cut the copy of the host's tree off from the original."""
    calls = (Call("mount", (None, "/", None, MS.REC | MS.PRIVATE, None)),)
    return Step("private", "or every mount made from here on would appear on the host: mount_namespaces(7)", calls)


def switch_root(host: Host) -> list[Step]:
    """Make the image's tree the root, and let the host's go."""
    root = Saved(DETACHED_ROOT)
    attach = (
        Call("move_mount", (root, "", AT_FDCWD, host.rootfs, MOVE_MOUNT.F_EMPTY_PATH)),
        Call("fchdir", (root,)),
        Call("close", (root,)),
    )
    return [
        Step("attach-root", "pivot_root(2) wants a mount point, and the working directory on it", attach),
        Step(
            "pivot-root",
            "swaps the roots; unlike chroot(2) it leaves nothing to climb back to",
            (Call("pivot_root", (".", ".")),),
        ),
        Step(
            "drop-old-root",
            "the old root lies over the new one now; without it no path leads out: pivot_root(2)",
            (Call("umount2", (".", MNT.DETACH)),),
        ),
        Step(
            "enter-root",
            "the working directory must not stay behind in the old tree: chdir(2)",
            (Call("chdir", ("/",)),),
        ),
    ]


def attach(config: Config, host: Host) -> list[Step]:
    """Put every mount in its place, in the order of the config, which the runtime-spec demands."""
    steps = []
    made: set[str] = set()
    for index, mount in enumerate(config.get("mounts", [])):
        options = parse(mount)
        destination = os.path.normpath(mount["destination"])
        is_file = options.bind and mount["source"] in host.files
        calls = _place(destination, is_file, made)
        made = {path for path in made if not path.startswith(destination + "/")}
        if not options.bind and mount["type"] == "cgroup":
            calls += _cgroup(destination, options, config, host)
        elif options.bind or mount["type"] in ("proc", "sysfs"):
            calls += _move(_handle(index), destination)
        else:
            handle = _kept(index, config) or _handle(index)
            calls += _make(mount["type"], mount.get("source", mount["type"]), options.data, handle)
            calls += _tune(handle, options) + _move(handle, destination)
        what = "bind" if options.bind else mount["type"]
        steps.append(
            Step(
                f"mount:{mount['destination']}",
                f"{what}, in the new root, where no symlink leads out: move_mount(2)",
                calls,
            )
        )
    return steps


def protect(config: Config) -> list[Step]:
    """Take away what procfs and sysfs would show or let be changed of the whole machine."""
    steps = []
    linux = config.get("linux", {})
    absent = (errno.ENOENT,)
    calls: tuple[Call, ...]
    for path in linux.get("readonlyPaths", []):
        calls = (
            Call(
                "open_tree",
                (AT_FDCWD, path, OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE),
                absent,
                saves="path",
            ),
            Call("mount_setattr", _attributes(Saved("path"), AT.RECURSIVE, MOUNT_ATTR.RDONLY), (errno.EBADF,)),
            Call(
                "move_mount",
                (Saved("path"), "", AT_FDCWD, path, MOVE_MOUNT.F_EMPTY_PATH),
                (errno.EBADF, *absent),
            ),
            Call("close", (Saved("path"),), (errno.EBADF,)),
        )
        steps.append(Step(f"read-only:{path}", "kernel parameters of the whole machine: proc(5)", calls))
    for path in linux.get("maskedPaths", []):
        misfit = (errno.ENOENT, errno.ENOTDIR)
        calls = (
            Call("mount", ("null", path, None, MS.BIND, None), misfit),
            Call(
                "mount",
                ("tmpfs", path, "tmpfs", MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC, "size=0k"),
                misfit,
            ),
        )
        steps.append(
            Step(
                f"mask:{path}",
                "tells about the whole machine; one of the two fits, file or directory: proc(5)",
                calls,
            )
        )
    return steps


def lock_root(config: Config) -> list[Step]:
    """Make the root read-only; last, because until now places for mounts had to be made in it."""
    steps = []
    propagation = config.get("linux", {}).get("rootfsPropagation", "private")
    if propagation not in ("private", "rprivate"):
        kind = PROPAGATION[propagation if propagation in PROPAGATION else propagation[1:]]
        calls = (Call("mount_setattr", _attributes(AT_FDCWD, AT.RECURSIVE, path="/", propagation=kind)),)
        steps.append(Step("root-propagation", "only now: pivot_root(2) refuses a shared root", calls))
    if config["root"].get("readonly"):
        calls = (Call("mount_setattr", _attributes(AT_FDCWD, AT(0), MOUNT_ATTR.RDONLY, path="/")),)
        steps.append(Step("root-read-only", "not before every mount point has been made: mount_setattr(2)", calls))
    return steps


def _handle(index: int) -> str:
    return f"mount{index}"


def _kept(index: int, config: Config) -> str:
    """Return the name under which later steps ask for a mount by its descriptor, if any does."""
    return {devices.own(config): devices.DIRECTORY, terminal.instance(config): terminal.INSTANCE}.get(index, "")


def _attributes(
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


def _set_attributes(name: str, deep: AT, attr_set: int = 0, attr_clr: int = 0, propagation: MS = MS(0)) -> Call:
    return Call("mount_setattr", _attributes(Saved(name), deep, attr_set, attr_clr, propagation))


def _tune(handle: str, options: Options) -> tuple[Call, ...]:
    """Return the calls that give a detached mount its attributes and its propagation."""
    calls = []
    if options.recursive_set or options.recursive_clr:
        calls.append(_set_attributes(handle, AT.RECURSIVE, options.recursive_set, options.recursive_clr))
    if options.attr_set or options.attr_clr:
        calls.append(_set_attributes(handle, AT(0), options.attr_set, options.attr_clr))
    if options.bind:
        deep = AT.RECURSIVE if options.propagation_recursive else AT(0)
        calls.append(_set_attributes(handle, deep, propagation=options.propagation))
    return tuple(calls)


def _make(kind: str, source: str, data: list[str], name: str) -> tuple[Call, ...]:
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


def _place(destination: str, is_file: bool, made: set[str]) -> tuple[Call, ...]:
    """Return the calls that make the place for a mount, and every directory above it not yet known to be there."""
    there = (errno.EEXIST,)
    calls = []
    parts = destination.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        path = "/" + "/".join(parts[:end])
        if path in made:
            continue
        if is_file and end == len(parts):
            calls.append(Call("mknodat", (AT_FDCWD, path, S_IFREG | 0o644, 0), there))
        else:
            calls.append(Call("mkdirat", (AT_FDCWD, path, 0o755), there))
        made.add(path)
    return tuple(calls)


def _move(name: str, destination: str) -> tuple[Call, ...]:
    """Return the calls that attach a detached mount, and let it go unless later steps ask for it.

    A symlink as the last part is followed, inside the root; but never for those on which other steps rely.
    """
    follow = MOVE_MOUNT(0) if destination in ("/proc", "/sys", "/dev") else MOVE_MOUNT.T_SYMLINKS
    attach = Call("move_mount", (Saved(name), "", AT_FDCWD, destination, MOVE_MOUNT.F_EMPTY_PATH | follow))
    return (attach,) if name in (devices.DIRECTORY, terminal.INSTANCE) else (attach, Call("close", (Saved(name),)))


def _cgroup(destination: str, options: Options, config: Config, host: Host) -> tuple[Call, ...]:
    """Return the calls that mount all cgroup hierarchies of the host, below a tmpfs if there are several."""
    pure = len(host.hierarchies) == 1 and host.hierarchies[0].version == 2
    attributes = options.attr_set | options.recursive_set
    calls: tuple[Call, ...] = ()
    if not pure:
        calls += _make("tmpfs", "tmpfs", ["mode=755", "size=64k"], "cgroups") + _move("cgroups", destination)
    for index, hierarchy in enumerate(host.hierarchies):
        place = destination if pure else f"{destination}/{os.path.basename(hierarchy.point)}"
        if not pure:
            calls += (Call("mkdirat", (AT_FDCWD, place, 0o755)),)
        if "cgroup" in namespaces(config):
            kind = "cgroup2" if hierarchy.version == 2 else "cgroup"
            calls += _make(kind, kind, list(hierarchy.options), _cgroup_handle(index))
        if attributes:
            calls += (_set_attributes(_cgroup_handle(index), AT(0), attributes),)
        calls += _move(_cgroup_handle(index), place)
    if not pure and attributes:
        calls += (Call("mount_setattr", _attributes(AT_FDCWD, AT(0), attributes, path=destination)),)
    return calls


def _cgroup_handle(index: int) -> str:
    return f"cgroup{index}"
