"""What a config asks for, and what is seen of it inside: the same fields in the same form, to be compared.

For each field of the table there is a claim here (`CLAIMS`), or a reason why there is none (`UNJUDGED`). A claim says
what of a config must be seen, and how that is read from the observations of one run. `seen` of one runtime and `seen`
of another can be compared just so. Pure: nothing is run, and nothing is asked of the machine.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from harness.runtime.config import Config, own
from harness.runtime.fields import CAPABILITIES, NAMESPACES
from harness.runtime.mountoptions import destination, parse
from harness.runtime.privileges import DEFAULT_UMASK
from harness.runtime.syscalls import IO_CLASSES, MOUNT_ATTR, PERSONALITIES, SCHEDULERS

Facts = dict[str, Any]
Differences = list[tuple[str, Any, Any]]

DEADLINE = 10.0  # seconds that a probe gets
TOLERANCE = 20  # seconds between two looks at one clock
NOTHING = object()  # what is asked for where a config leaves it to the runtime
OWN, SHARED = "its own", "the launcher's"


class Claim(NamedTuple):
    """What is claimed of one field, or of several that only mean something together."""

    path: str
    asked: Callable[[Config], Any]
    seen: Callable[[Facts, Config], Any]


def observations(config: Config) -> dict[str, Facts]:
    """Return the observations that are to be made inside, by their names, as the host role takes them."""
    wanted: dict[str, Facts] = {
        name: {}
        for name in ("init", "identity", "capabilities", "attributes", "environ", "mounts", "namespaces", "id_maps")
    }
    linux = config["linux"]
    wanted["directory"] = {"probe": "working_directory", "args": {"path": "/"}}
    if config["process"].get("terminal"):
        wanted["console"] = {}
    if linux.get("timeOffsets"):
        wanted["clocks"] = {}
    if linux.get("maskedPaths"):
        wanted["masks"] = {"args": {"paths": linux["maskedPaths"]}}
    if linux.get("sysctl"):
        wanted["sysctl"] = {"args": {"names": sorted(linux["sysctl"])}}
    if linux.get("devices"):
        wanted["devices"] = {}
    if linux.get("veth"):
        wanted["network"] = {}
    if (linux.get("resources") or linux.get("cgroupsPath")) and "console" not in wanted:  # which would echo the reply
        wanted["stay"] = {"probe": "wait"}
    return {name: {"probe": name, "args": {}, "deadline": DEADLINE} | entry for name, entry in wanted.items()}


def host_observations(config: Config) -> dict[str, Facts]:
    """Return those that are to be made on the host meanwhile."""
    wanted: dict[str, Facts] = {"namespaces": {}}
    if config["linux"].get("timeOffsets"):
        wanted["clocks"] = {}
    if "stay" in observations(config):
        wanted["cgroups"] = {"probe": "cgroup_state", "args": {"pid": "container.pid"}, "during": "stay"}
    return {name: {"probe": name, "args": {}, "deadline": DEADLINE} | entry for name, entry in wanted.items()}


def request(runtime: str, config: Config) -> Facts:
    """Return the request to the host role for a run in which everything is seen that a config asks for."""
    sides = {"inside": observations(config), "host": host_observations(config)}
    return {"runtime": runtime, "config": config, **sides}


def asked(config: Config) -> Facts:
    """Return what must be seen inside, by the paths of the fields."""
    values = {claim.path: claim.asked(config) for claim in CLAIMS}
    return {path: value for path, value in values.items() if value is not NOTHING}


def seen(answer: Facts, config: Config) -> Facts:
    """Return what was seen inside, by the paths of the fields, of all that may be asked for."""
    facts = {name: found["facts"] for name, found in answer["inside"].items() if "facts" in found}
    facts |= {f"host.{name}": found["facts"] for name, found in answer["host"].items() if "facts" in found}
    values = {}
    for claim in CLAIMS:
        try:
            values[claim.path] = claim.seen(facts, config)
        except (LookupError, TypeError, AttributeError, StopIteration) as error:  # hostile facts may be of any form
            values[claim.path] = f"not seen: {error}"
    return values


def differences(left: Facts, right: Facts) -> Differences:
    """Return what is different in fields that both sides have."""
    return [(path, left[path], right[path]) for path in left if path in right and left[path] != right[path]]


# --- the program ---


def _of_process(name: str, default: Any = NOTHING) -> Callable[[Config], Any]:
    return lambda config: config["process"].get(name, default)


def _user(name: str, default: Any) -> Callable[[Config], Any]:
    return lambda config: config["process"].get("user", {}).get(name, default)


def _same(*names: str) -> Callable[[Facts, Config], Any]:
    """Return what reads ids that must all be one."""

    def read(facts: Facts, _config: Config) -> Any:
        found = sorted({facts["identity"][name] for name in names})
        return found[0] if len(found) == 1 else found

    return read


def _attribute(name: str) -> Callable[[Facts, Config], Any]:
    return lambda facts, _config: facts["attributes"][name]


def _capabilities(config: Config) -> Facts:
    """Return the five sets as execve(2) leaves them: capabilities(7), "Transformation of capabilities"."""
    process = config["process"]
    wanted = {kind: set(process.get("capabilities", {}).get(kind, [])) for kind in SETS}
    ambient = wanted["ambient"] & wanted["permitted"] & wanted["inheritable"]
    permitted = set(ambient)
    effective = set(ambient)
    if process.get("user", {}).get("uid", 0) == 0:  # root gets what a file with all capabilities would give
        permitted |= wanted["inheritable"] | wanted["bounding"]
        if process.get("noNewPrivileges"):
            permitted &= wanted["permitted"]
        effective = permitted
    found = wanted | {"ambient": ambient, "permitted": permitted, "effective": effective}
    return {kind: sorted(names, key=CAPABILITIES.index) for kind, names in found.items()}


SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def _rlimits(config: Config) -> Any:
    return {limit["type"]: [limit["soft"], limit["hard"]] for limit in config["process"].get("rlimits", [])}


def _rlimits_seen(facts: Facts, config: Config) -> Any:
    return {name: facts["attributes"]["rlimits"][name] for name in _rlimits(config)}


def _scheduler(config: Config) -> Any:
    wanted = config["process"].get("scheduler", {"policy": "SCHED_OTHER"})
    nice = wanted.get("nice", 0) if wanted["policy"] != "SCHED_IDLE" else 0
    return {"policy": SCHEDULERS[wanted["policy"]], "nice": nice}


def _io_priority(config: Config) -> Any:
    wanted = config["process"].get("ioPriority")
    return IO_CLASSES.index(wanted["class"]) << 13 | wanted["priority"] if wanted else NOTHING


def _first_process(config: Config) -> Any:
    """Return the number of the program: it is the first of its PID namespace, or the second where another one reaps."""
    if "pid" not in own(config):
        return NOTHING
    return 2 if config.get("annotations", {}).get("isoproof.init") == "true" else 1


# --- namespaces and ids ---


def _namespaces(config: Config) -> Facts:
    kinds = own(config)
    return {name: OWN if name in kinds else SHARED for name in NAMESPACES}


def _namespaces_seen(facts: Facts, _config: Config) -> Facts:
    files = {"mount": "mnt", "network": "net"}
    inside, outside = facts["namespaces"], facts["host.namespaces"]
    return {
        name: SHARED if inside[files.get(name, name)] == outside[files.get(name, name)] else OWN for name in NAMESPACES
    }


def _map(kind: str) -> Callable[[Config], Any]:
    def wanted(config: Config) -> Any:
        entries = config["linux"].get(f"{kind}Mappings", [])
        return [[entry["containerID"], entry["hostID"], entry["size"]] for entry in entries] or NOTHING

    return wanted


def _offsets(config: Config) -> Any:
    return config["linux"].get("timeOffsets") or NOTHING


def _offsets_seen(facts: Facts, config: Config) -> Any:
    """Return the offsets, where the clocks have gone on by no more than a start takes, else by how much they differ."""
    found = {}
    for clock, offset in config["linux"].get("timeOffsets", {}).items():
        wanted = offset.get("secs", 0) + offset.get("nanosecs", 0) / 10**9
        shifted = facts["clocks"]["children"][clock] - facts["host.clocks"][clock]
        found[clock] = offset if -0.01 <= shifted - wanted <= TOLERANCE else shifted
    return found


# --- mounts ---

# What an option says of a mount, as mountinfo has it: proc_pid_mountinfo(5).
SHOWN = {
    MOUNT_ATTR.RDONLY: "ro",
    MOUNT_ATTR.NOSUID: "nosuid",
    MOUNT_ATTR.NODEV: "nodev",
    MOUNT_ATTR.NOEXEC: "noexec",
    MOUNT_ATTR.NOSYMFOLLOW: "nosymfollow",
}


def _covered(config: Config, path: str) -> bool:
    """Return whether something of the config lies over a place that is not one of its mounts."""
    linux = config["linux"]
    paths = [*linux.get("maskedPaths", []), *linux.get("readonlyPaths", [])]
    return any(f"{path}/".startswith(f"{above}/") for above in paths)


def _mounts(config: Config) -> Facts:
    """Return the type and flags of each mount, as far as the config decides on them: a bind mount has its source's."""
    found: Facts = {}
    for mount in config["mounts"]:
        options, path = parse(mount), destination(mount)
        bits = options.attr_set | options.recursive_set
        known = {name: bool(bits & bit) for bit, name in SHOWN.items() if bits & bit or not options.bind}
        if mount.get("type") == "cgroup" or options.remount or _covered(config, path):
            found.pop(path, None)
        else:
            found[path] = known | ({} if options.bind else {"type": mount["type"]})
    return found


def _mounts_seen(facts: Facts, config: Config) -> Facts:
    tops = {mount["point"]: mount for mount in facts["mounts"]["mounts"]}
    found: Facts = {}
    for path, wanted in _mounts(config).items():
        mount = tops.get(path)
        if mount is None:
            found[path] = "no mount"
            continue
        values = {name: name in mount["options"] for name in SHOWN.values()} | {"type": mount["type"]}
        found[path] = {name: values[name] for name in wanted}
    return found


def _root(facts: Facts) -> Facts:
    return next(mount for mount in reversed(facts["mounts"]["mounts"]) if mount["point"] == "/")


def _propagation(config: Config) -> Any:
    return config["linux"].get("rootfsPropagation", "private").removeprefix("r").replace("slave", "private")


def _propagation_seen(facts: Facts, _config: Config) -> str:
    """Return what the root is; the slave of nobody is private."""
    tags = [tag.partition(":")[0] for tag in _root(facts)["optional"]]
    return next((tag for tag in tags if tag in ("shared", "unbindable")), "private")


def _readonly(config: Config) -> list[str]:
    """Return the paths that are read-only; what a mask lies over is not to be seen."""
    return sorted(set(config["linux"].get("readonlyPaths", [])) - set(config["linux"].get("maskedPaths", [])))


def _readonly_seen(facts: Facts, config: Config) -> Any:
    """Return the paths that are mounts which nobody can write to, or are not there."""
    tops = {mount["point"]: mount for mount in facts["mounts"]["mounts"]}
    return [path for path in _readonly(config) if path not in tops or "ro" in tops[path]["options"]]


def _masked_seen(facts: Facts, config: Config) -> Any:
    """Return the paths of which nothing is to be seen: the null device, a directory without entries, nothing at all."""
    paths = config["linux"].get("maskedPaths", [])
    found = facts["masks"]["paths"] if paths else {}
    empty = (
        {"kind": "character device", "number": "1:3", "bytes": 0},
        {"kind": "directory", "entries": [], "create": "EROFS"},
    )
    return sorted(path for path in paths if path not in found or found[path] in empty)


def _paths(name: str) -> Callable[[Config], Any]:
    return lambda config: sorted(config["linux"].get(name, []))


# --- the rest ---


def _personality(config: Config) -> Any:
    return PERSONALITIES[config["linux"].get("personality", {}).get("domain", "LINUX")]


def _devices(config: Config) -> Any:
    kinds = {"c": "character device", "u": "character device", "b": "block device", "p": "fifo"}
    found = {}
    for device in config["linux"].get("devices", []):
        number = None if device["type"] == "p" else f"{device['major']}:{device['minor']}"
        found[device["path"]] = {
            "kind": kinds[device["type"]],
            "number": number,
            "mode": device.get("fileMode", 0o666),
            "uid": device.get("uid", 0),
            "gid": device.get("gid", 0),
        }
    return found


def _devices_seen(facts: Facts, config: Config) -> Any:
    found = {}
    for path, wanted in _devices(config).items():
        entry = facts["devices"]["entries"].get(path, {})
        found[path] = {name: entry.get(name) for name in wanted}
    return found


def _seccomp(config: Config) -> Any:
    return 2 if config["linux"].get("seccomp") else 0


def _cables(config: Config) -> Any:
    return sorted(cable["name"] for cable in config["linux"].get("veth", []))


CLAIMS = (
    Claim(
        "root.readonly",
        lambda config: bool(config["root"].get("readonly")),
        lambda facts, _config: "ro" in _root(facts)["options"],
    ),
    Claim("hostname", lambda config: config.get("hostname") or NOTHING, _same("hostname")),
    Claim("domainname", lambda config: config.get("domainname") or NOTHING, _same("domainname")),
    Claim(
        "process.env[]",
        lambda config: sorted(config["process"].get("env", [])),
        lambda facts, _: facts["environ"]["variables"],
    ),
    Claim("process.cwd", _of_process("cwd", "/"), lambda facts, _config: facts["directory"]["path"]),
    Claim("process.terminal", _of_process("terminal", False), lambda facts, _: facts["attributes"]["terminal"] != 0),
    Claim("process.user.uid", _user("uid", 0), _same("uid", "euid", "suid")),
    Claim("process.user.gid", _user("gid", 0), _same("gid", "egid", "sgid")),
    Claim("process.user.umask", _user("umask", DEFAULT_UMASK), _attribute("umask")),
    Claim(
        "process.user.additionalGids[]",
        lambda config: sorted(_user("additionalGids", [])(config)),
        lambda facts, _: facts["identity"]["groups"],
    ),
    Claim(
        "process.capabilities",
        _capabilities,
        lambda facts, _config: {kind: facts["capabilities"]["child"][kind] for kind in SETS},
    ),
    Claim(
        "process.noNewPrivileges",
        _of_process("noNewPrivileges", False),
        lambda facts, _config: bool(facts["capabilities"]["child"]["no_new_privileges"]),
    ),
    Claim("process.rlimits", _rlimits, _rlimits_seen),
    Claim("process.oomScoreAdj", _of_process("oomScoreAdj"), _attribute("oom_score_adj")),
    Claim(
        "process.scheduler",
        _scheduler,
        lambda facts, _config: {name: facts["attributes"][name] for name in ("policy", "nice")},
    ),
    Claim("process.ioPriority", _io_priority, _attribute("io_priority")),
    Claim("linux.personality", _personality, _attribute("personality")),
    Claim("mounts", _mounts, _mounts_seen),
    Claim("linux.namespaces", _namespaces, _namespaces_seen),
    Claim("linux.timeOffsets", _offsets, _offsets_seen),
    Claim("linux.uidMappings", _map("uid"), lambda facts, _config: facts["id_maps"]["uid"]),
    Claim("linux.gidMappings", _map("gid"), lambda facts, _config: facts["id_maps"]["gid"]),
    Claim("linux.rootfsPropagation", _propagation, _propagation_seen),
    Claim("linux.maskedPaths[]", _paths("maskedPaths"), _masked_seen),
    Claim("linux.readonlyPaths[]", _readonly, _readonly_seen),
    Claim("linux.sysctl.*", lambda config: config["linux"].get("sysctl") or NOTHING, lambda facts, _: facts["sysctl"]),
    Claim("linux.devices", _devices, _devices_seen),
    Claim("linux.seccomp.defaultAction", _seccomp, lambda facts, _config: facts["init"]["seccomp"][0]),
    Claim(
        "linux.veth[].name",
        _cables,
        lambda facts, config: sorted({*_cables(config)} & {*facts.get("network", {}).get("names", [])}),
    ),
    Claim("annotations.*", _first_process, lambda facts, _config: facts["init"]["pid"]),
)
