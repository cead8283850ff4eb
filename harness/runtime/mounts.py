"""The mount namespace: a tree of the container's own, and no way back to the host's. mount_namespaces(7).

The order is what makes it safe. Everything that must be taken from the host's tree is opened first, as detached mounts
(`harness.runtime.mountsources`). Then the root is switched and the host's tree let go. Only after that are the mounts
put in their places: the paths of the image, symlinks and all, are then resolved by the kernel in a tree that has no
outside. The one way out that is left are the links in /proc that are no paths (/proc/self/fd/7), so none is followed.
"""

import errno
import os.path
from dataclasses import replace

from harness.runtime import devices, mountsources
from harness.runtime.config import Config
from harness.runtime.errors import ConfigError
from harness.runtime.mountoptions import PROPAGATION, Options, below, destination, parse, propagates_later
from harness.runtime.mountsources import attributes, set_attributes, tune
from harness.runtime.step import Call, Host, Packed, Saved, Step
from harness.runtime.syscalls import (
    AT,
    AT_FDCWD,
    MNT,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    S_IFREG,
    O,
    open_how,
)

DETACHED_ROOT = "root"
OLD_ROOT = "host-root"  # the name under which the host's root is kept for hooks that are run in it
RELIED_ON = ("/proc", "/sys", "/dev")  # by other steps, so no symlink of the image may stand in their place


def check(config: Config, host: Host) -> None:
    """Hold the mounts of a config to what this module can do.

    Raises ConfigError for the first mount that is wrong.
    """
    unbindable: set[str] = set()
    for mount in config.get("mounts", []):
        options = parse(mount)
        field = f"config.json: mounts: {mount['destination']}"
        if options.propagation == MS.UNBINDABLE:
            unbindable.add(destination(mount))
        elif options.propagation or not options.remount:
            unbindable.discard(destination(mount))
        if destination(mount) == "/":
            raise ConfigError("config.json: mounts: /: the root itself is named by root.path")
        if (options.bind or options.remount) and options.data:
            raise ConfigError(f"{field}: a bind mount takes no option {options.data[0]!r}, nor does a remount")
        if mount.get("type") == "cgroup" and options.data:
            raise ConfigError(f"{field}: {options.data[0]!r} would be set for the cgroups of the whole host")
        if options.idmap:
            mountsources.check_idmap(config, host, mount)
        if options.remount:
            continue
        if options.bind and not mount.get("source", "").startswith("/"):
            raise ConfigError(f"{field}: a bind mount needs an absolute path as its source")
        if not options.bind and not mount.get("type"):
            raise ConfigError(f"{field}: neither a type nor the option bind")
    _check_readonly(config, unbindable)


def _check_readonly(config: Config, unbindable: set[str]) -> None:
    """Raise ConfigError for a read-only path that has an unbindable mount in it.

    Such a path is bound over itself. What cannot be bound would be missing from it then, or be the path itself.
    """
    for path in config.get("linux", {}).get("readonlyPaths", []) if unbindable else ():
        for place in sorted(unbindable):
            if below(place, [path]):
                raise ConfigError(
                    f"config.json: linux.readonlyPaths: {path}: {place} is an unbindable mount, which cannot be part "
                    "of it: give that mount the option ro instead"
                )


def open_root(config: Config, host: Host) -> Step:
    """Take the image's tree as a detached mount that only this process holds.

    Its path had no symlinks when it was looked at; one that is there now has been put there since. Device nodes of the
    image's are nothing to be trusted, with or without a device filter.
    """
    how = open_how(O.PATH | O.DIRECTORY | O.CLOEXEC, RESOLVE_NO_SYMLINKS)
    shown = Packed(how, "O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_NO_SYMLINKS")
    flags = OPEN_TREE.CLONE | OPEN_TREE.CLOEXEC | AT.RECURSIVE | AT.EMPTY_PATH
    kind = MS.SLAVE if _root_propagation(config) == MS.SLAVE else MS.PRIVATE
    calls = (
        Call("openat2", (AT_FDCWD, host.rootfs, shown, len(how)), saves="rootfs"),
        Call("open_tree", (Saved("rootfs"), "", flags), saves=DETACHED_ROOT),
        set_attributes(DETACHED_ROOT, AT.RECURSIVE, MOUNT_ATTR.NODEV, propagation=kind),
    )
    return Step("open-root", "while the host's tree is still there to take it from: open_tree(2)", calls)


def stop_propagation() -> Step:
    """Cut the copy of the host's tree off from the original."""
    calls = (Call("mount", (None, "/", None, MS.REC | MS.PRIVATE, None)),)
    return Step("private", "or every mount made from here on would appear on the host: mount_namespaces(7)", calls)


def switch_root(hooks: bool) -> list[Step]:
    """Make the image's tree the root, and let the host's go; where `hooks` still need it, let it out of sight only."""
    root = Saved(DETACHED_ROOT)
    attach = (
        Call("move_mount", (root, "", Saved("rootfs"), "", MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH)),
        Call("close", (Saved("rootfs"),)),
        Call("fchdir", (root,)),
        Call("close", (root,)),
    )
    attached = Step("attach-root", "pivot_root(2) wants a mount point, and the working directory on it", attach)
    if not hooks:
        return [attached, *_pivot()]
    enter = (
        Call("openat", (AT_FDCWD, "/", O.PATH | O.DIRECTORY | O.CLOEXEC), saves=OLD_ROOT),
        Call("chroot", (".",)),
        Call("chdir", ("/",)),
    )
    return [attached, Step("change-root", "only until hooks have seen the host's tree: chroot(2)", enter)]


def leave_host() -> list[Step]:
    """Let the host's tree go that has only been out of sight."""
    host, root = Saved(OLD_ROOT), Saved("new-root")
    calls = (
        Call("openat", (AT_FDCWD, "/", O.PATH | O.DIRECTORY | O.CLOEXEC), saves=root.name),
        Call("fchdir", (host,)),
        Call("chroot", (".",)),
        Call("fchdir", (root,)),
        Call("close", (host,)),
        Call("close", (root,)),
    )
    return [
        Step("return-root", "pivot_root(2) swaps the root of the namespace, not one by chroot(2)", calls),
        *_pivot(),
    ]


def _pivot() -> list[Step]:
    return [
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
    dev = devices.own(config)
    for index, mount in enumerate(config.get("mounts", [])):
        options = parse(mount)
        place = destination(mount)
        name = f"mount:{mount['destination']}"
        is_file = options.bind and mount.get("source") in host.files
        what = "bind" if options.bind else mount.get("type")
        why = f"{what}, in the new root, where no symlink leads out: move_mount(2)"
        if options.remount:
            calls = (*_reach(place), *tune("place", options), Call("close", (Saved("place"),)))
            name = f"remount:{mount['destination']}"
            why = "a mount that an earlier step has attached gets other attributes: mount_setattr(2)"
        elif what == "cgroup":
            calls = _place(place, is_file, made) + _attach_cgroups(place, options, host)
        else:
            taken = mountsources.handle(config, index)
            if dev is not None and index > dev and os.path.dirname(place) == "/dev":
                calls = _put_in_dev(taken, os.path.basename(place), is_file)
            else:
                calls = _place(place, is_file, made) + _move(taken, place)
            if index not in mountsources.kept(config):
                calls += (Call("close", (Saved(taken),)),)
            if propagates_later(config, index):
                calls += _propagate(place, options)
        made = {path for path in made if not path.startswith(place + "/")}
        steps.append(Step(name, why, calls))
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
            Call("mount_setattr", attributes(Saved("path"), AT.RECURSIVE, MOUNT_ATTR.RDONLY), (errno.EBADF,)),
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
                "mount",  # the slash tells before one is made whether a file system fits there
                ("tmpfs", f"{path}/", "tmpfs", MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC, "size=0k"),
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


def mask_beforehand(mask: Step) -> tuple[Step, Step]:
    """Return the step that makes what a mask covers a directory with, and the mask that finds it there.

    Where no directory is in the end, what was made is let go.
    """
    null, cover = mask.calls
    properties = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC
    made = (
        *mountsources.make("tmpfs", "tmpfs", ["ro", "size=0k"], mask.name),
        set_attributes(mask.name, AT(0), properties),
    )
    made_cover = Saved(mask.name)
    put = (
        Call("move_mount", (made_cover, "", AT_FDCWD, cover.arguments[1], MOVE_MOUNT.F_EMPTY_PATH), cover.allowed),
        Call("close", (made_cover,)),
    )
    opened = Step(f"open:{mask.name}", "what covers a directory, whoever comes to want it: fsmount(2)", made)
    return opened, replace(mask, calls=(null, *put))


def lock_root(config: Config) -> list[Step]:
    """Make the root read-only; last, because until now places for mounts had to be made in it."""
    steps = []
    kind = _root_propagation(config)
    if kind in (MS.SHARED, MS.UNBINDABLE):
        deep = AT.RECURSIVE if config["linux"]["rootfsPropagation"] not in PROPAGATION else AT(0)
        calls: tuple[Call, ...] = (Call("mount_setattr", attributes(AT_FDCWD, deep, path="/", propagation=kind)),)
        if deep:
            calls += _restore_propagation(config)
        steps.append(Step("root-propagation", "only now: pivot_root(2) refuses a shared root", calls))
    if config["root"].get("readonly"):
        calls = (Call("mount_setattr", attributes(AT_FDCWD, AT(0), MOUNT_ATTR.RDONLY, path="/")),)
        steps.append(Step("root-read-only", "not before every mount point has been made: mount_setattr(2)", calls))
    return steps


def _root_propagation(config: Config) -> MS:
    name = config.get("linux", {}).get("rootfsPropagation", "private")
    return PROPAGATION[name if name in PROPAGATION else name[1:]]


def _restore_propagation(config: Config) -> tuple[Call, ...]:
    """Return the calls that give the mounts back what the config says of each, after all have become the root's.

    What a mask or a later mount has come to lie over can neither be reached nor seen any more.
    """
    calls: tuple[Call, ...] = ()
    masked = config["linux"].get("maskedPaths", [])
    for index, mount in enumerate(config.get("mounts", [])):
        later = [destination(other) for other in config["mounts"][index + 1 :] if not parse(other).remount]
        if parse(mount).propagation and not below(destination(mount), [*masked, *later]):
            calls += _propagate(destination(mount), parse(mount))
    return calls


def _propagate(place: str, options: Options) -> tuple[Call, ...]:
    """Return the calls that have an attached mount propagate as its options say."""
    deep = AT.RECURSIVE if options.propagation_recursive else AT(0)
    again = set_attributes("place", deep, propagation=options.propagation)
    return (*_reach(place), again, Call("close", (Saved("place"),)))


def _reach(path: str, flags: O = O.PATH | O.CLOEXEC) -> tuple[Call, ...]:
    """Return the call that opens a path in the new root as `place`; it must lead there by names alone."""
    how = open_how(flags, RESOLVE_NO_MAGICLINKS)
    return (Call("openat2", (AT_FDCWD, path, Packed(how, f"{flags}, RESOLVE_NO_MAGICLINKS"), len(how)), saves="place"),)


def _place(target: str, is_file: bool, made: set[str]) -> tuple[Call, ...]:
    """Return the calls that make the place for a mount, and every directory above it not yet known to be there."""
    calls: tuple[Call, ...] = ()
    parts = target.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        above, path = "/" + "/".join(parts[: end - 1]), "/" + "/".join(parts[:end])
        if path in made:
            continue
        where: int | Saved = AT_FDCWD
        name = path
        if above != "/":
            calls += _reach(above, O.PATH | O.DIRECTORY | O.CLOEXEC)
            where, name = Saved("place"), parts[end - 1]
        calls += (_make(where, name, is_file and end == len(parts)),)
        if isinstance(where, Saved):
            calls += (Call("close", (where,)),)
        made.add(path)
    return calls


def _make(where: int | Saved, name: str, is_file: bool) -> Call:
    """Return the call that makes a place for a mount, unless there is one."""
    if is_file:
        return Call("mknodat", (where, name, S_IFREG | 0o644, 0), (errno.EEXIST,))
    return Call("mkdirat", (where, name, 0o755), (errno.EEXIST,))


def _move(name: str, place: str) -> tuple[Call, ...]:
    """Return the calls that attach a detached mount.

    A symlink as the last part is followed, inside the root; but never for those on which other steps rely.
    """
    if place in RELIED_ON:
        return (Call("move_mount", (Saved(name), "", AT_FDCWD, place, MOVE_MOUNT.F_EMPTY_PATH)),)
    flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_EMPTY_PATH
    reached = Saved("place")
    return (*_reach(place), Call("move_mount", (Saved(name), "", reached, "", flags)), Call("close", (reached,)))


def _put_in_dev(taken: str, name: str, is_file: bool) -> tuple[Call, ...]:
    """Return the calls that attach a detached mount in the own /dev, where nothing of the image's can be."""
    dev = Saved(devices.DIRECTORY)
    return _make(dev, name, is_file), Call("move_mount", (Saved(taken), "", dev, name, MOVE_MOUNT.F_EMPTY_PATH))


def _attach_cgroups(place: str, options: Options, host: Host) -> tuple[Call, ...]:
    """Return the calls that attach all cgroup hierarchies, below a tmpfs if there are several."""
    handles = [mountsources.cgroup_handle(index) for index in range(len(host.hierarchies))]
    if mountsources.pure(host):
        return (*_move(handles[0], place), Call("close", (Saved(handles[0]),)))
    above = Saved("cgroups")
    calls = _move(above.name, place)
    for name, hierarchy in zip(handles, host.hierarchies, strict=True):
        directory = os.path.basename(hierarchy.point)
        calls += (
            Call("mkdirat", (above, directory, 0o755)),
            Call("move_mount", (Saved(name), "", above, directory, MOVE_MOUNT.F_EMPTY_PATH)),
            Call("close", (Saved(name),)),
        )
    return (*calls, *tune(above.name, options), Call("close", (above,)))
