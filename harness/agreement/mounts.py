"""Claims of the mounts: their types, flags, options and owners, what is masked and what is read-only. mount(8)

What a mount table says is told apart from what the runtime makes of options: nothing of its own parser is used here.
"""

import posixpath
from typing import Any

from harness.agreement.claim import Claim, Facts
from harness.runtime.config import Config
from harness.shapes import KIT

# Each option that says something of a mount, and what it says; with an r in front it says so of those below it, too.
FLAGS = {
    **{name: (name, True) for name in ("ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime")},
    "rw": ("ro", False),
    "suid": ("nosuid", False),
    "dev": ("nodev", False),
    "exec": ("noexec", False),
    "symfollow": ("nosymfollow", False),
    "diratime": ("nodiratime", False),
    "noatime": ("atime", "noatime"),
    "strictatime": ("atime", "strictatime"),
    "relatime": ("atime", "relatime"),
}
NEW = dict.fromkeys(("ro", "nosuid", "nodev", "noexec", "nosymfollow", "nodiratime"), False) | {"atime": "relatime"}
PROPAGATIONS = ("shared", "unbindable", "private", "slave")
DEEP = tuple("r" + name for name in PROPAGATIONS)  # the same for all mounts below, too
HIDING = {"0": "off", "1": "noaccess", "2": "invisible", "4": "ptraceable"}  # proc(5)
OVERFLOW = 65534  # what an id that is not mapped looks like


def observations(config: Config) -> Facts:
    """Return the observations that these claims need inside, without what is usual."""
    wanted: Facts = {"mounts": {}}
    paths = sorted({*_masked(config), *_readonly(config)})
    if paths:
        wanted["masks"] = {"args": {"paths": paths}}
    for place in {**_owned(config), **_bound(config)}:
        wanted[f"at {place}"] = {"probe": "location", "args": {"path": place}}
    return wanted


def host_observations(config: Config) -> Facts:
    """Return those that they need on the host."""
    sources = sorted(set(_bound(config).values()))
    return {f"at {source}": {"probe": "location", "args": {"path": source}} for source in sources}


def _place(mount: Config) -> str:
    path: str = mount["destination"]
    return "/" + posixpath.normpath(path).lstrip("/")


def _options(mount: Config) -> list[str]:
    found: list[str] = mount.get("options", [])
    return found


def _is_bind(mount: Config) -> bool:
    return mount.get("type") == "bind" or not {"bind", "rbind"}.isdisjoint(_options(mount))


def _below(path: str, paths: list[str]) -> bool:
    return any(f"{path}/".startswith(f"{above}/") for above in paths)


def _mounts(config: Config) -> Facts:
    """Return by place what a mount must be, as far as the config decides on that: a bind mount has its source's flags.

    What a mask lies over is not to be seen; what is below a read-only path is read-only.
    """
    linux = config["linux"]
    found: Facts = {}
    for mount in config["mounts"]:
        place = _place(mount)
        if "remount" in _options(mount):
            found.get(place, {}).update(_flags(mount))
        elif not _below(place, linux.get("maskedPaths", [])):
            found[place] = _flags(mount) if _is_bind(mount) else _new(mount)
    propagations = _propagations(config)
    for place, wanted in found.items():
        wanted["propagation"] = propagations[place]
        if _below(place, linux.get("readonlyPaths", [])):
            wanted["ro"] = True
    return found


def _new(mount: Config) -> Facts:
    """Return what a new file system must be: of all flags those that are asked for."""
    if mount["type"] == "cgroup":  # of version 1 that is many, below a tmpfs
        return _flags(mount)
    source = {"source": mount["source"]} if "source" in mount else {}
    return {"type": mount["type"], **source, **NEW, **_flags(mount), **_data(_options(mount))}


def _flags(mount: Config) -> Facts:
    """Return what the options say of the mount, the last the most; those for all below it come first."""
    found: Facts = {}
    deep = [option[1:] for option in _options(mount) if option not in FLAGS and option[:1] == "r"]
    for option in [*deep, *_options(mount)]:
        if option in FLAGS:
            name, value = FLAGS[option]
            found[name] = value
    return found


def _propagations(config: Config) -> dict[str, str]:
    """Return how each mount propagates: as it says, or like the shared one that it is in: mount_namespaces(7).

    In the end the root's has been laid over those that say nothing, where it is for all below it. The slave of nobody
    is private.
    """
    found: dict[str, str] = {}
    deep: dict[str, str] = {}  # what mounts say of all below them
    silent: set[str] = set()
    for mount in config["mounts"]:
        place, says = _place(mount), _says_propagation(mount)
        above = max((other for other in found if _below(place, [other]) and other != place), key=len, default="")
        if says:
            found[place] = says.removeprefix("r")
            deep |= {place: found[place]} if says in DEEP else {}
            silent.discard(place)
        elif "remount" not in _options(mount):
            found[place] = "shared" if found.get(above) == "shared" else "private"
            silent.add(place)
    root = config["linux"].get("rootfsPropagation", "private")
    if root in ("rshared", "runbindable"):
        for place in silent:
            nearest = max((other for other in deep if _below(place, [other])), key=len, default="")
            found[place] = deep.get(nearest, root[1:])
    return {place: kind.replace("slave", "private") for place, kind in found.items()}


def _says_propagation(mount: Config) -> str:
    """Return the last of the options that are about propagation, or nothing."""
    said = [option for option in _options(mount) if option in DEEP or option in PROPAGATIONS]
    return said[-1] if said else ""


def _data(options: list[str]) -> Facts:
    """Return what options say of a file system, as numbers where there are several ways to write them."""
    found: Facts = {}
    for option in options:
        name, _, value = option.partition("=")
        if name == "size":
            units = {"k": 10, "m": 20, "g": 30}
            found["size"] = int(value.rstrip("kmg")) << units.get(value[-1], 0)
        elif name in ("mode", "ptmxmode"):
            found[name] = int(value, 8)
        elif name in ("nr_inodes", "max"):
            found[name] = int(value)
        elif name == "hidepid":
            found["hidepid"] = HIDING.get(value, value)
        elif name == "subset":
            found["subset"] = value
    return found


def _mounts_seen(facts: Facts, config: Config) -> Facts:
    tops = _tops(facts)
    found: Facts = {}
    for place, wanted in _mounts(config).items():
        mount = tops.get(place)
        known = _known(mount) if mount else {}
        found[place] = {name: known.get(name) for name in wanted}
    return found


def _known(mount: Facts) -> Facts:
    """Return what a line of the mount table says: proc_pid_mountinfo(5)."""
    options = mount["options"]
    times = [name for name in ("noatime", "relatime") if name in options]
    found = {name: name in options for name in NEW} | {"atime": times[0] if times else "strictatime"}
    data = (
        {"mode": 0o1777} | _data(mount["super_options"]) if mount["type"] == "tmpfs" else _data(mount["super_options"])
    )
    return found | {"type": mount["type"], "source": mount["source"], "propagation": _tag(mount)} | data


def _tag(mount: Facts) -> str:
    tags = {tag.partition(":")[0] for tag in mount["optional"]}
    return next((name for name in ("shared", "unbindable") if name in tags), "private")


def _owned(config: Config) -> Facts:
    """Return by place the owner, user and group, that the root of a mount must have where that is asked for."""
    found: Facts = {}
    for mount in config["mounts"]:
        place = _place(mount)
        found.pop(place, None)
        if "uidMappings" in mount:
            found[place] = [_inside(config, kind, _shown(mount[f"{kind}Mappings"])) for kind in ("uid", "gid")]
        else:
            owners = dict(option.split("=") for option in _options(mount) if option[:4] in ("uid=", "gid="))
            if owners and mount["type"] == "tmpfs":
                found[place] = [int(owners[kind]) for kind in ("uid", "gid")]
    return {place: owner for place, owner in found.items() if not _below(place, config["linux"].get("maskedPaths", []))}


def _shown(extents: list[Config]) -> int | None:
    """Return the id, as the host counts, that is shown for what belongs to root on the disk."""
    return next((extent["hostID"] - extent["containerID"] for extent in extents if extent["containerID"] == 0), None)


def _inside(config: Config, kind: str, host_id: int | None) -> int:
    """Return what an id of the host's looks like inside."""
    extents = config["linux"].get(f"{kind}Mappings", [{"containerID": 0, "hostID": 0, "size": 2**32 - 1}])
    for extent in extents:
        if host_id is not None and 0 <= host_id - extent["hostID"] < extent["size"]:
            found: int = extent["containerID"] + host_id - extent["hostID"]
            return found
    return OVERFLOW


def _owned_seen(facts: Facts, config: Config) -> Facts:
    places = {place: facts[f"at {place}"] for place in _owned(config)}
    return {place: [found["uid"], found["gid"]] for place, found in places.items()}


def _bound(config: Config) -> Facts:
    """Return by place which tree or file of the host's is bound there, but for the kit, without which nothing is seen.

    Where something else comes to lie over it, it is not to be seen.
    """
    found: Facts = {}
    for mount in config["mounts"]:
        place = _place(mount)
        if _is_bind(mount) and place != KIT:
            found[place] = mount["source"]
        elif "remount" not in _options(mount):
            found = {other: source for other, source in found.items() if not _below(other, [place])}
    return {
        place: source for place, source in found.items() if not _below(place, config["linux"].get("maskedPaths", []))
    }


def _bound_seen(facts: Facts, config: Config) -> Facts:
    """Return the sources that are where they should be, and in the place of others what is there instead."""
    found: Facts = {}
    for place, source in _bound(config).items():
        here, there = facts[f"at {place}"], facts[f"host.at {source}"]
        same = (here["device"], here["inode"]) == (there["device"], there["inode"])
        found[place] = source if same else {key: here[key] for key in ("errno", "device", "inode")}
    return found


def _tops(facts: Facts) -> Facts:
    """Return by place the mount that is met there: the one that is not the parent of another in the same place."""
    mounts = {mount["id"]: mount for mount in facts["mounts"]["mounts"]}
    above = [mount for mount in mounts.values() if mount["parent"] in mounts]
    lower = {mount["parent"] for mount in above if mounts[mount["parent"]]["point"] == mount["point"]}
    return {mount["point"]: mount for number, mount in mounts.items() if number not in lower}


def _readonly(config: Config) -> list[str]:
    """Return the read-only paths that no mask lies over."""
    linux = config["linux"]
    return sorted(
        path for path in set(linux.get("readonlyPaths", [])) if not _below(path, linux.get("maskedPaths", []))
    )


def _readonly_seen(facts: Facts, config: Config) -> list[str]:
    """Return those of the paths that are mounts which cannot be written, or are not there."""
    tops = _tops(facts)
    there = facts["masks"]["paths"] if _readonly(config) else {}
    return [path for path in _readonly(config) if path not in there or "ro" in tops.get(path, {}).get("options", [])]


def _masked(config: Config) -> list[str]:
    return sorted(set(config["linux"].get("maskedPaths", [])))


def _masked_seen(facts: Facts, config: Config) -> list[str]:
    """Return those of the paths that show nothing: the null device, an empty directory, or no such path."""
    paths = _masked(config)
    found = facts["masks"]["paths"] if paths else {}
    return [path for path in paths if _is_empty(found.get(path))]


def _is_empty(seen: Any) -> bool:
    file = {"kind": "character device", "number": "1:3", "bytes": 0}
    return seen in (None, file, {"kind": "directory", "entries": [], "create": "EROFS"})


CLAIMS = (
    Claim(
        "root.readonly",
        lambda config: config["root"].get("readonly", False),
        lambda facts, _config: "ro" in _tops(facts)["/"]["options"],
    ),
    Claim(
        "linux.rootfsPropagation",
        lambda config: (
            config["linux"].get("rootfsPropagation", "private").removeprefix("r").replace("slave", "private")
        ),
        lambda facts, _config: _tag(_tops(facts)["/"]),
    ),
    Claim("mounts", _mounts, _mounts_seen),
    Claim("mounts[].source", _bound, _bound_seen),
    Claim("mounts[].uidMappings", _owned, _owned_seen),
    Claim("linux.maskedPaths[]", _masked, _masked_seen),
    Claim("linux.readonlyPaths[]", _readonly, _readonly_seen),
)
