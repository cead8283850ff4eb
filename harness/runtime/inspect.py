"""What a plan must know of the host and of the bundle, read before anything is done."""

import contextlib
import ctypes
import fcntl
import itertools
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness.runtime import cgroup, devices, limits, netdevices
from harness.runtime.config import Config, joined, namespaces
from harness.runtime.errors import BadInput, BundleError, StartError, require_linux
from harness.runtime.fields import NAMESPACES
from harness.runtime.modules import landlock_version, security_modules
from harness.runtime.mountoptions import destination
from harness.runtime.privileges import candidates
from harness.runtime.step import Hierarchy, Host
from harness.runtime.syscalls import (
    ARCHITECTURES,
    AT_FDCWD,
    NS_GET_NSTYPE,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    O,
    explain_errno,
    invoke,
    open_how,
)

OLDEST_KERNEL = (5, 12)
FILES = {"mount": "mnt", "network": "net"}  # in /proc/self/ns, where they differ from the runtime-spec's names
PROC_SUPER_MAGIC = 0x9FA0
PROC_ROOT_INO = 1
KERNEL_FILESYSTEMS = {  # include/uapi/linux/magic.h
    PROC_SUPER_MAGIC: "procfs",
    0x62656572: "sysfs",
    0x27E0EB: "cgroupfs",
    0x63677270: "cgroupfs",
    0x1CD1: "devpts",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xCAFE4A11: "bpffs",
    0x6E736673: "nsfs",
}


def kernel_version() -> tuple[int, int]:
    """Return the first two numbers of the kernel's version."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(itertools.takewhile(str.isdigit, minor)) or 0)


def host(config: Config, bundle: Path) -> Host:
    """Look at the host with the eyes of one config and its bundle.

    Raises BadInput where this host or this user cannot run it, BundleError where the bundle is not whole, StartError
    where no cgroup can be had.
    """
    check_machine()
    check_proc()
    if os.geteuid() != 0 and "user" not in namespaces(config):
        raise BadInput(
            "config.json: linux.namespaces: an ordinary user needs a namespace of type user, with uidMappings and "
            "gidMappings; or start it as root"
        )
    shared = shared_namespaces(config)
    rootfs = find_rootfs(config, bundle)
    find_program(config, rootfs)
    devices.check_host(config)
    return Host(
        name=f"isoproof-{os.getpid()}-{time.monotonic_ns():x}",  # the number alone will be used again
        rootfs=str(rootfs),
        bundle=str(bundle.resolve()),
        machine=os.uname().machine,
        uid=os.geteuid(),
        gid=os.getegid(),
        kernel=kernel_version(),
        last_capability=int(Path("/proc/sys/kernel/cap_last_cap").read_text()),
        landlock=landlock_version(),
        security_modules=tuple(security_modules()),
        hierarchies=tuple(hierarchies(limits.controllers(config, 2)))
        if cgroup.needed(config, os.geteuid() != 0)
        else (),
        files=frozenset(
            mount["source"]
            for mount in config.get("mounts", [])
            if mount.get("source", "").startswith("/")
            and os.path.exists(mount["source"])
            and not os.path.isdir(mount["source"])
        ),
        shared=shared,
        addresses=netdevices.addresses(config),
    )


def shared_namespaces(config: Config) -> frozenset[str]:
    """Return the types of the namespaces to join that are the launcher's own anyway.

    Raises BadInput for a path that is no namespace of its type. setns(2) will ask again, but then work has been done.
    """
    shared = set()
    for name, path in joined(config).items():
        field = f"config.json: linux.namespaces: {name}: {path}"
        try:
            descriptor = os.open(path, O.CLOEXEC | O.NONBLOCK)
        except OSError as error:
            raise BadInput(f"{field}: {explain_errno(error.errno or 0)}; the path names a namespace to join") from error
        try:
            kind = fcntl.ioctl(descriptor, NS_GET_NSTYPE)
        except OSError as error:
            raise BadInput(f"{field}: is no namespace; one is /proc/PID/ns/*, or a bind mount of that") from error
        else:
            if kind != NAMESPACES[name]:
                found = next((other for other, flag in NAMESPACES.items() if flag == kind), "another")
                raise BadInput(f"{field}: is a namespace of type {found}")
            if os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/self/ns/{FILES.get(name, name)}")):
                shared.add(name)
        finally:
            os.close(descriptor)
    if "user" in shared:
        raise BadInput("config.json: linux.namespaces: user: the path is the launcher's own; take the entry out")
    return frozenset(shared)


def check_machine() -> None:
    """Raise BadInput where no container can be made at all."""
    require_linux()
    if os.uname().machine not in ARCHITECTURES:
        raise BadInput(f"this machine is a {os.uname().machine}: only {' and '.join(ARCHITECTURES)} are known")
    if kernel_version() < OLDEST_KERNEL:
        raise BadInput(f"this is Linux {os.uname().release}: 5.12 or later is needed, for mount_setattr(2)")


def check_proc() -> None:
    """Raise BadInput where /proc is anything but procfs: what is written there, until the root is switched, is ours."""
    if filesystem("/proc") != PROC_SUPER_MAGIC or os.stat("/proc").st_ino != PROC_ROOT_INO:
        raise BadInput("the /proc around this process is no procfs, so no setting of a process can be written by it")


def filesystem(path: str) -> int:
    """Return the kernel's number of the file system that a path is on: statfs(2). Raises OSError."""
    found = ctypes.create_string_buffer(256)
    invoke("statfs", os.fsencode(path) + b"\0", found)
    return int.from_bytes(found.raw[:8], sys.byteorder)


def find_rootfs(config: Config, bundle: Path) -> Path:
    """Return the directory that is to become the root.

    Raises BundleError where it is none, where its path has a symlink, by which somebody could swap it, or where it is
    never an image: the host's own root (also by another mount of it), its /dev, a view of the kernel.
    """
    named = os.path.join(bundle.resolve(), config["root"]["path"])
    try:
        rootfs: Path = Path(named).resolve()
        is_directory = rootfs.is_dir()
    except (OSError, RuntimeError) as error:
        raise BundleError(f"open {named}: {error}; root.path in config.json names it") from None
    if not is_directory:
        raise BundleError(f"open {rootfs}: no such directory; root.path in config.json names it")
    for path in ("/", "/dev"):
        if os.path.exists(path) and os.path.samefile(rootfs, path):
            raise BundleError(
                f"root.path is the host's own {'root' if path == '/' else path}; a container needs a "
                "directory of its own"
            )
    if str(rootfs) != "/" + os.path.normpath(named).lstrip("/"):
        raise BundleError(f"root.path leads through a symlink to {rootfs}; name the directory itself")
    kind = KERNEL_FILESYSTEMS.get(filesystem(str(rootfs)))
    if kind:
        raise BundleError(f"root.path is on {kind}, a view of this kernel; a container needs a directory of its own")
    return rootfs


def open_directory(path: Path) -> int:
    """Open a directory whose path has been resolved. Raises BundleError where there is a symlink in it by now."""
    how = open_how(O.PATH | O.DIRECTORY | O.CLOEXEC, RESOLVE_NO_SYMLINKS)
    try:
        return invoke("openat2", AT_FDCWD, os.fsencode(path) + b"\0", how, len(how))
    except OSError as error:
        raise BundleError(f"open {path}: {explain_errno(error.errno or 0)}; it was there a moment ago") from None


def find_program(config: Config, rootfs: Path) -> None:
    """Raise BundleError where the program is surely not there, instead of starting a container that cannot run."""
    paths = candidates(config)
    covered = [destination(mount) + "/" for mount in config.get("mounts", [])]
    for path in paths:
        absolute = os.path.normpath(os.path.join(config["process"].get("cwd", "/"), path))
        if any((absolute + "/").startswith(destination) for destination in covered):
            return
    root = open_directory(rootfs)
    try:
        if any(exists(root, os.path.join(config["process"].get("cwd", "/"), path)) for path in paths):
            return
    finally:
        os.close(root)
    raise BundleError(
        f"execute {config['process']['args'][0]}: ENOENT (no such file in {rootfs}); see process.args and PATH"
    )


def resolve(root: int, path: str, flags: int = O.PATH) -> int:
    """Open a path the way a process in that root would see it: no symlink and no `..` leads out. openat2(2)."""
    how = open_how(flags | O.CLOEXEC, RESOLVE_IN_ROOT)
    return invoke("openat2", root, path.encode() + b"\0", how, len(how))


def missing_places(config: Config, root: int) -> list[str]:
    """Return the paths in the root that mounting will have to make, outermost first, to be removed again."""
    missing: list[str] = []
    for place in wanted_places(config):
        missing += [path for path in _ancestry(place) if path not in missing and not exists(root, path)]
    return missing


def wanted_places(config: Config) -> list[str]:
    """Return the paths of the root that things are mounted on; what is below another mount is not the root's."""
    wanted: list[str] = []
    covered: list[str] = []
    for mount in config.get("mounts", []):
        place = destination(mount)
        if not any(place.startswith(above + "/") for above in covered):
            wanted.append(place)
        covered.append(place)
    return wanted


def remove_places(root: int, places: list[str]) -> None:
    """Remove what `missing_places` named, innermost first; what the container has filled is the user's and stays."""
    for path in reversed(places):
        with contextlib.suppress(OSError):
            parent = resolve(root, os.path.dirname(path))
            try:
                name = os.path.basename(path)
                kind = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISDIR(kind.st_mode):
                    os.rmdir(name, dir_fd=parent)
                elif stat.S_ISREG(kind.st_mode) and kind.st_size == 0:
                    os.unlink(name, dir_fd=parent)
            finally:
                os.close(parent)


def _ancestry(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def exists(root: int, path: str) -> bool:
    """Return whether there is something at a path, as a process in that root would see it."""
    try:
        os.close(resolve(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def hierarchies(needed: set[str]) -> Iterator[Hierarchy]:
    """Yield every mounted cgroup hierarchy, with the place in it below which cgroups can be made.

    `needed` are the controllers that version 2 must hand down to the new cgroup.
    """
    own = _own_cgroups()
    seen = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        root, point = (_unescape(field) for field in left.split()[3:5])
        kind, _source, options = right.split()[:3]
        if kind == "cgroup2":
            name, version = "", 2
            controllers = frozenset(_words(f"{point}/cgroup.controllers"))
        elif kind == "cgroup":
            name = next((key for key in own if key and set(key.split(",")) <= set(options.split(","))), "")
            version = 1
            controllers = frozenset(part for part in name.split(",") if not part.startswith("name="))
        else:
            continue
        if name in seen or name not in own:
            continue
        seen.add(name)
        here = os.path.normpath(f"{point}/{os.path.relpath(own[name], root)}")
        if not here.startswith(point) or not os.path.isdir(here):
            here = point
        parent, enable = delegating(here, point, needed & controllers) if version == 2 else (here, frozenset())
        cpuset = "cpuset" in controllers and version == 1
        yield Hierarchy(
            point=point,
            version=version,
            controllers=controllers,
            own=here,
            parent=parent,
            options=tuple(_remount_options(name)) if version == 1 else (),
            enable=enable,
            cpus=_text(f"{parent}/cpuset.effective_cpus") if cpuset else "",
            mems=_text(f"{parent}/cpuset.effective_mems") if cpuset else "",
        )


def delegated(config: Config) -> bool:
    """Return whether this user has been given all version 2 controllers that a config needs."""
    needed = limits.controllers(config, 2)
    try:
        found = [hierarchy for hierarchy in hierarchies(needed) if hierarchy.version == 2]
    except StartError:
        return False
    return any(needed <= hierarchy.controllers and _may_join(hierarchy.parent) for hierarchy in found)


def _may_join(cgroup: str) -> bool:
    """Return whether this user may make cgroups below a cgroup, and move processes about there."""
    return os.access(cgroup, os.W_OK) and os.access(f"{cgroup}/cgroup.procs", os.W_OK)


def _own_cgroups() -> dict[str, str]:
    """Return where the caller stands, by the names of the controllers of a hierarchy (`` for version 2)."""
    result = {}
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _number, controllers, path = line.split(":", 2)
            result[controllers] = path
    return result


def _remount_options(name: str) -> list[str]:
    """Return what mounts this version 1 hierarchy once more: cgroups(7)."""
    options = []
    for part in name.split(","):
        options += ["none", part] if part.startswith("name=") else [part]
    return options


def delegating(own: str, point: str, needed: set[str] | frozenset[str]) -> tuple[str, frozenset[str]]:
    """Return the nearest version 2 cgroup, from the own one upwards, that can hand down these controllers.

    A version 2 cgroup with processes in it hands down none (the root excepted), so a login session's own cgroup is
    usually passed over for its parent. Raises StartError where no cgroup can.
    """
    if not needed:
        return own, frozenset()
    directory = own
    while True:
        enabled = set(_words(f"{directory}/cgroup.subtree_control"))
        free = not _words(f"{directory}/cgroup.procs") or not os.path.exists(f"{directory}/cgroup.type")
        if needed <= enabled or (free and needed <= set(_words(f"{directory}/cgroup.controllers"))):
            if _may_join(directory):
                return directory, frozenset(needed - enabled)
        if directory == point:
            break
        directory = os.path.dirname(directory)
    raise StartError(
        f"limit {', '.join(sorted(needed))}: no cgroup from {own} upwards hands the controller down "
        "(cgroup.subtree_control); start it in one that does: systemd-run --scope -p Delegate=yes"
    )


def _words(path: str) -> list[str]:
    return _text(path).split()


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _unescape(field: str) -> str:
    """Undo the octal escapes of mountinfo: proc_pid_mountinfo(5)."""
    return field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
