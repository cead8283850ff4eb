"""What this machine is, as far as it decides a verdict.

Kernel, privileges, cgroups, security modules and versions stand in every report, in one line under every
failure, and are what `requires:` of a scenario asks. They are read from /proc and /sys alone, so that they
cost a few milliseconds and need no privilege.
"""

import ctypes
import errno
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from harness.runtime.errors import StartError
from harness.runtime.inspect import delegating
from harness.runtime.modules import landlock_version, security_modules

CONTROLLERS = ("memory", "pids", "cpu")
PACKAGES = ("isoproof", "pytest", "msgspec", "PyYAML")
COMMAND = ["pytest"]  # by which this session was started, for who wants to repeat a part of it
IMAGE: dict[str, str] = {}  # what containers begin with in this session (`--rootfs`): path, form and digest


@cache
def facts() -> dict[str, Any]:
    """The facts, read once in a process; the caller must not change them."""
    release = os.uname().release
    return {
        "kernel": kernel_version(release),
        "release": release,
        "machine": os.uname().machine,
        "cpus": len(os.sched_getaffinity(0)),
        "uid": os.geteuid(),
        "rootless": os.geteuid() != 0,
        "cgroup": cgroup_facts(),
        "disk": _is_on_disk("/usr"),
        "block_devices": bool(_entries("/sys/block")),
        "namespaces": sorted(_entries("/proc/self/ns")),
        "i386": os.path.exists("/proc/sys/abi/vsyscall32"),  # whether a 64 bit process may make their calls too
        "io_uring": (_text("/proc/sys/kernel/io_uring_disabled").strip() or "0") == "0",  # new in Linux 6.6
        "keyrings": os.path.exists("/proc/sys/kernel/keys"),
        "ports": _has_ports(),
        "modules": os.path.exists("/proc/modules"),
        "kexec": os.path.exists("/sys/kernel/kexec_loaded"),
        "perf_event_paranoid": int(_text("/proc/sys/kernel/perf_event_paranoid").strip() or "-1"),
        "tiocsti": (_text("/proc/sys/dev/tty/legacy_tiocsti").strip() or "1") == "1",  # new in Linux 6.2
        "checkpoint_restore": os.path.exists("/proc/sys/kernel/ns_last_pid"),
        "audit": os.path.exists("/proc/self/loginuid"),
        "binfmt_misc": os.path.exists("/proc/sys/fs/binfmt_misc"),
        "bpf_file_system": os.path.exists("/sys/fs/bpf"),
        "kernel_addresses": _text("/proc/sys/kernel/kptr_restrict").strip() != "2",  # whether anybody may see them
        "machine_id": bool(_text("/etc/machine-id").strip()),
        "lsms": security_modules(),
        "landlock": landlock_version(),
        "profiles": profiles(),
        "image": IMAGE,
        "command": COMMAND,
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _is_on_disk(path: str) -> bool:
    """Whether a file system lies on a block device, and not on others (overlay), on several (btrfs) or on none."""
    device = os.stat(path).st_dev
    return os.path.exists(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")


def _has_ports() -> bool:
    """Whether the kernel could give ports of the machine to a program: to go without one takes no right (ioperm(2))."""
    ioperm = getattr(ctypes.CDLL(None, use_errno=True), "ioperm", None)  # only x86 has it
    return ioperm is not None and (ioperm(0, 1, 0) == 0 or ctypes.get_errno() != errno.ENOSYS)


def kernel_version(release: str) -> list[int]:
    """The first two numbers of a kernel release; [0, 0] where there are none."""
    numbers: list[int] = []
    for part in release.split(".")[:2]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            return [0, 0]
        numbers.append(int(digits))
    return numbers if len(numbers) == 2 else [0, 0]


def cgroup_facts(memberships: str | None = None, mounts: str | None = None) -> dict[str, Any]:
    """Where limits can be set: for each controller, and cpuset, the cgroup version that holds it, 0 for none.

    `writable` says that all of CONTROLLERS have a version and that a cgroup can be made for every one where containers
    get theirs: a cgroup directory may be ours to read and still sit on a read-only mount. The texts are those of
    /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc_pid_mountinfo(5)).
    """
    memberships = _text("/proc/self/cgroup") if memberships is None else memberships
    mounts = _text("/proc/self/mountinfo") if mounts is None else mounts
    directories: dict[str, str] = {}
    versions = dict.fromkeys((*CONTROLLERS, "cpuset"), 0)
    for kind, options, root, point in _cgroup_mounts(mounts):
        for line in memberships.splitlines():
            _, controllers, path = line.split(":", 2)
            if (kind == "cgroup2") != (controllers == ""):
                continue
            directory = _below(root, point, path)
            if kind == "cgroup2":
                handing_down = {name: _handing_down(directory, point, name) for name in versions}
                held = {name for name, found in handing_down.items() if found}
                held |= set(_text(f"{directory}/cgroup.controllers").split())
            else:
                handing_down = dict.fromkeys(versions, directory)
                held = set(controllers.split(",")) & options
            for controller in held & versions.keys():
                versions[controller] = 2 if kind == "cgroup2" else 1
                directories[controller] = handing_down[controller]
    writable = all(os.access(directories.get(controller, ""), os.W_OK) for controller in CONTROLLERS)
    return {**versions, "writable": writable}


def _handing_down(own: str, point: str, controller: str) -> str:
    """Return the version 2 cgroup below which containers get a controller: our own or one above, if there is any.

    The leaf in which a login session lives has none for others; the cgroup that was delegated stands above it.
    """
    if os.path.commonpath((own, point)) != point:
        return ""  # we stand beside what is mounted
    try:
        return delegating(own, point, {controller})[0]
    except StartError:
        return ""


def profiles() -> list[str]:
    """The names of the profiles that AppArmor has loaded, as far as this user may know."""
    return sorted(line.rpartition(" (")[0] for line in _text("/sys/kernel/security/apparmor/profiles").splitlines())


def one_line(known: dict[str, Any]) -> str:
    """The facts in one line, as they stand under a failure."""
    cgroup = known["cgroup"]
    limits = " ".join(f"{name}=v{cgroup[name]}" if cgroup[name] else f"no {name}" for name in CONTROLLERS)
    rootless = " (rootless)" if known["rootless"] else ""
    image = known.get("image")  # which older results do not have
    begun_with = f", image {image['path']} {image['digest']}".rstrip() if image else ""
    return (
        f"Linux {known['release']} {known['machine']}, uid {known['uid']}{rootless}, "
        f"cgroup {limits}{'' if cgroup['writable'] else ' (not writable)'}, "
        f"lsm {'+'.join(known['lsms']) or 'unknown'}, Python {known['python']}, "
        f"isoproof {known['versions'].get('isoproof', 'checkout')}{begun_with}"
    )


def _cgroup_mounts(mounts: str) -> list[tuple[str, set[str], str, str]]:
    """Of each cgroup mount: type, super-block options, root within the hierarchy, mount point."""
    found = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) >= 5 and len(right) >= 3 and right[0] in ("cgroup", "cgroup2"):
            found.append((right[0], set(right[2].split(",")), left[3], left[4]))
    return found


def _below(root: str, point: str, path: str) -> str:
    """The directory of cgroup `path` where the hierarchy's `root` is mounted on `point`."""
    if root != "/" and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return os.path.normpath(f"{point}/{path}")


def _versions() -> dict[str, str]:
    """Versions of what takes part in a verdict; a checkout that is not installed has none of its own."""
    from importlib.metadata import PackageNotFoundError, version  # 20 ms, and pytest has it loaded already

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
