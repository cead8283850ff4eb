"""What a config declares, in the form in which probes report it: the functions that `expect` expressions may call.

Every public function is pure. Those that compare answer with the differences, one line each,
so that an expectation reads `undeclared_mounts(config, inside.mounts.mounts) == []` and its failure names the culprits.
"""

import errno
from collections import Counter
from collections.abc import Iterator
from typing import Any

from harness import filters

Config = dict[str, Any]
Mount = dict[str, Any]

FLAGS = ("ro", "nosuid", "nodev", "noexec", "nosymfollow")
PERMISSIVE = {"rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "symfollow": "nosymfollow"}

# The nodes of /dev that a runtime makes, or in a user namespace binds from the host (config-linux.md, Default Devices).
DEVICES = ("console", "full", "null", "random", "tty", "urandom", "zero")

# In these, a mount below the file system's own root shows a part of the kernel's, not a path of the host.
KERNEL_FILE_SYSTEMS = ("cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs")

# Options of overlayfs that name directories of the host.
LAYERS = ("lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir")


def undeclared_mounts(config: Config, mounts: list[Mount]) -> list[str]:
    """The mounts that the config neither asks for nor permits, as "point type"; two on one point count as two.

    Permitted, once each, are what covers masked and read-only paths, bound devices of /dev, and the hierarchies below a
    mount of type cgroup.
    """
    permitted = Counter(point for point, _ in _declared(config))
    linux = config.get("linux", {})
    permitted.update(linux.get("maskedPaths", []))
    permitted.update(linux.get("readonlyPaths", []))
    permitted.update(f"/dev/{device}" for device in DEVICES)
    places = tuple(f"{mount['destination']}/" for mount in config.get("mounts", []) if mount.get("type") == "cgroup")
    found = []
    for mount in mounts:
        point, kind = mount["point"], mount["type"]
        if permitted[point]:
            permitted[point] -= 1
        elif not (point.startswith(places) and kind in ("cgroup", "cgroup2")):
            found.append(f"{point} {kind}")
    return sorted(found)


def missing_mounts(config: Config, mounts: list[Mount]) -> list[str]:
    """The mounts that the config asks for and that are not there, or are of another type, as "point type"."""
    there = {(mount["point"], mount["type"]) for mount in mounts}
    points = {point for point, _ in there}
    return sorted(
        f"{point} {' or '.join(kinds) or 'bind'}"
        for point, kinds in _declared(config)
        if (point not in points if not kinds else there.isdisjoint((point, kind) for kind in kinds))
    )


def wrong_flags(config: Config, flags: dict[str, list[str]]) -> list[str]:
    """Where the flags in force are not those of the config, as "/dev/shm lacks nosuid" or "/sys has nodev".

    A bind mount may have more than it asks for: it inherits those of its source.
    """
    found = []
    for point, wanted, inherits in _declared_flags(config):
        actual = set(flags[point]) if point in flags else set()
        found += [f"{point} lacks {flag}" for flag in wanted - actual]
        found += [f"{point} has {flag}" for flag in actual - wanted if not inherits]
    return sorted(found)


def host_paths(mounts: list[Mount]) -> list[str]:
    """The paths of the host that a mount table gives away, as "point path".

    mountinfo shows of each mount which directory of its file system it is (field 4), and of an overlay the layers.
    """
    found = []
    for mount in mounts:
        path = mount["root"]
        is_device = path.lstrip("/") in DEVICES and mount["type"] in ("tmpfs", "devtmpfs")
        if path != "/" and mount["type"] not in KERNEL_FILE_SYSTEMS and not is_device:
            found.append(f"{mount['point']} {path}")
        for option in mount["super_options"]:
            name, _, value = option.partition("=")
            if name in LAYERS:
                found.append(f"{mount['point']} {value}")
    return sorted(found)


def cpu_share(config: Config) -> float:
    """How many CPUs' worth of time the quota allows: 0.2 is a fifth of one."""
    cpu = config["linux"]["resources"]["cpu"]
    return float(cpu["quota"] / cpu["period"])


def wrong_verdicts(config: Config, programs: list[str], machine: str) -> list[str]:
    """Where filters, dumped as hexadecimal digits, do not say what the config says, as "x86_64 mount(…): ALLOW, …"."""
    return filters.differences(config["linux"]["seccomp"], [bytes.fromhex(text) for text in programs], machine)


def wrong_errnos(config: Config, attempts: dict[str, Any]) -> list[str]:
    """The attempts that the filter was to deny and that ended otherwise, as "keyctl: EACCES, declared EPERM"."""
    found = []
    for name, attempt in attempts.items():
        answer = filters.declared(config["linux"]["seccomp"], name, attempt["arguments"])
        wanted = errno.errorcode.get(answer & 0xFFFF) if answer >> 16 == filters.ERRNO >> 16 else "no errno"
        ended = attempt.get("ended_by", attempt.get("errno"))
        if ended != wanted:
            found.append(f"{name}: {ended}, declared {wanted}")
    return found


def _declared(config: Config) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each mount point that the config asks for and the types that its mount may have; no types for a bind mount."""
    yield "/", ()
    for mount in config.get("mounts", []):
        kind = mount.get("type", "")
        if _is_bind(mount):
            yield mount["destination"], ()
        else:
            yield mount["destination"], ("cgroup2", "tmpfs") if kind == "cgroup" else (kind,)


def _declared_flags(config: Config) -> Iterator[tuple[str, set[str], bool]]:
    """Each mount point of the config, the flags that it asks for, and whether more may come from elsewhere."""
    yield "/", {"ro"} if config["root"].get("readonly") else set(), True
    for mount in config.get("mounts", []):
        flags: set[str] = set()
        for option in mount.get("options", []):
            # rro, rnosuid and so on: the same for the whole tree, its top included
            name = option[1:] if option[:1] == "r" and option[1:] in (*FLAGS, *PERMISSIVE) else option
            if name in FLAGS:
                flags.add(name)
            flags.discard(PERMISSIVE.get(name, ""))
        yield mount["destination"], flags, _is_bind(mount)


def _is_bind(mount: Mount) -> bool:
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(mount.get("options", []))
