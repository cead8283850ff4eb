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

# What a runtime makes in /dev, or in a user namespace binds from the host (config-linux.md, Default Devices), and the
# links that go with it (runtime-linux.md, Dev symbolic links).
NODES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
LINKS = {"fd": "/proc/self/fd", **{f"std{name}": f"/proc/self/fd/{n}" for n, name in enumerate(("in", "out", "err"))}}
DEVICES = (*NODES, "console")
DEVICE_KINDS = {"c": "character device", "u": "character device", "b": "block device", "p": "fifo"}

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

    mountinfo shows of each mount which directory of its file system it is (field 4), and of an overlay the layers. A
    layer that is named without its directory gives nothing away.
    """
    found = []
    for mount in mounts:
        path = mount["root"]
        is_device = path.lstrip("/") in DEVICES and mount["type"] in ("tmpfs", "devtmpfs")
        if path != "/" and mount["type"] not in KERNEL_FILE_SYSTEMS and not is_device:
            found.append(f"{mount['point']} {path}")
        for option in mount["super_options"]:
            name, _, value = option.partition("=")
            if name in LAYERS and "/" in value:
                found.append(f"{mount['point']} {value}")
    return sorted(found)


def wrong_devices(config: Config, entries: dict[str, dict[str, Any]]) -> list[str]:
    """Where /dev is not as the config and the runtime-spec have it, as "/dev/kmsg is a character device 1:11".

    Modes and owners are compared where the container's root can set them: outside a user namespace.
    """
    wanted = dict(_declared_entries(config))
    found = [f"{path} is missing" for path in wanted if path not in entries]
    has_user_namespace = any(entry["type"] == "user" for entry in config["linux"].get("namespaces", []))
    for path, entry in entries.items():
        asked = wanted.get(path, {"kind": None})
        if any(entry[key] != asked[key] for key in ("kind", "number", "target") if key in asked):
            found.append(f"{path} is a {entry['kind']} {entry['number'] or entry['target'] or ''}".rstrip())
        elif not has_user_namespace:
            found += [
                f"{path} has {key} {entry[key]:{'04o' if key == 'mode' else ''}}"
                for key in ("mode", "uid", "gid")
                if key in asked and entry[key] != asked[key]
            ]
    return sorted(found)


def wrong_bounds(config: Config, bounds: dict[str, dict[str, int]]) -> list[str]:
    """Where a tmpfs holds more or less than the config says, as "/dev/shm holds 67108864 bytes, not 1048576"."""
    found = []
    for mount in config.get("mounts", []):
        point = mount["destination"]
        options = dict(option.partition("=")[::2] for option in mount.get("options", []))
        if mount.get("type") != "tmpfs" or _is_bind(mount):
            continue
        for option, name in (("size", "bytes"), ("nr_inodes", "files")):
            asked = _size(options[option]) if option in options else None
            actual = bounds[point][name] if point in bounds else 0
            if asked is not None and actual != asked:
                found.append(f"{point} holds {actual} {name}, not {asked}")
    return sorted(found)


def cpu_share(config: Config) -> float:
    """How many CPUs' worth of time the quota allows: 0.2 is a fifth of one."""
    cpu = config["linux"]["resources"]["cpu"]
    return float(cpu["quota"] / cpu["period"])


def rlimits(config: Config) -> dict[str, list[int]]:
    """The resource limits that the config asks for, by name: soft and hard."""
    return {limit["type"]: [limit["soft"], limit["hard"]] for limit in config["process"].get("rlimits", [])}


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


def _declared_entries(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each path that is to be in /dev, and what must be true of it."""
    for name, number in NODES.items():
        yield f"/dev/{name}", {"kind": "character device", "number": number, "mode": 0o666, "uid": 0, "gid": 0}
    for name, target in LINKS.items():
        yield f"/dev/{name}", {"kind": "link", "target": target}
    yield "/dev/ptmx", {"kind": "link", "target": "pts/ptmx"}
    if config["process"].get("terminal"):
        yield "/dev/console", {"kind": "character device"}
    for mount in config.get("mounts", []):
        if mount["destination"].startswith("/dev/"):
            yield mount["destination"], {"kind": "directory"}
    for device in config["linux"].get("devices", []):
        above = device["path"].split("/")[:-1]
        for end in range(3, len(above) + 1):
            yield "/".join(above[:end]), {"kind": "directory"}
        kind = DEVICE_KINDS[device["type"]]
        entry = {"kind": kind, "number": None, "mode": device.get("fileMode", 0o666)}
        if kind != "fifo":
            entry["number"] = f"{device['major']}:{device['minor']}"
        yield device["path"], entry | {key: device[key] for key in ("uid", "gid") if key in device}


def _size(text: str) -> int:
    """A number as tmpfs takes it: 64k, 1m, 2g (tmpfs(5))."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    unit = units.get(text[-1:].lower(), 1)
    return int(text.rstrip("kKmMgG")) * unit


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
