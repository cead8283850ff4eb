"""Claims of namespaces and of what they hold: names, id maps, clocks, parameters, devices, cables."""

from collections.abc import Callable
from typing import Any

from harness.agreement.claim import NOTHING, Claim, Facts, fact
from harness.runtime.config import Config, own
from harness.runtime.fields import MEMORY_POLICIES, MEMORY_POLICY_FLAGS, NAMESPACES
from harness.runtime.syscalls import PERSONALITIES

TOLERANCE = 20.0  # seconds between two looks at one clock
OWN, SHARED = "its own", "the launcher's"
FILES = {"mount": "mnt", "network": "net"}  # in /proc/PID/ns, where they differ from the runtime-spec's names


def observations(config: Config) -> Facts:
    """Return the observations that these claims need inside, without what is usual."""
    linux = config["linux"]
    wanted: Facts = {}
    if "user" in own(config):
        wanted["id_maps"] = {}
    if linux.get("timeOffsets"):
        wanted["clocks"] = {}
    if linux.get("sysctl"):
        wanted["sysctl"] = {"args": {"names": sorted(linux["sysctl"])}}
    if linux.get("devices"):
        wanted["devices"] = {}
    if linux.get("veth"):
        wanted["network"] = {}
    return wanted


def host_observations(config: Config) -> Facts:
    """Return those that they need on the host."""
    return {"namespaces": {}, **({"clocks": {}} if config["linux"].get("timeOffsets") else {})}


def _namespaces(config: Config) -> Facts:
    return {name: OWN if name in own(config) else SHARED for name in NAMESPACES}


def _namespaces_seen(facts: Facts, _config: Config) -> Facts:
    inside, outside = facts["init"]["namespaces"], facts["host.namespaces"]
    pairs = {name: (inside[FILES.get(name, name)], outside[FILES.get(name, name)]) for name in NAMESPACES}
    return {name: SHARED if here == there else OWN for name, (here, there) in pairs.items()}


def _map(kind: str) -> Callable[[Config], Any]:
    """Return what reads the extents of one map from a config."""

    def wanted(config: Config) -> Any:
        extents = config["linux"].get(f"{kind}Mappings", [])
        return [[extent["containerID"], extent["hostID"], extent["size"]] for extent in extents]

    return wanted


def _map_seen(kind: str) -> Callable[[Facts, Config], Any]:
    return lambda facts, config: facts["id_maps"][kind] if "user" in own(config) else []


def _offsets(config: Config) -> Facts:
    found: Facts = config["linux"].get("timeOffsets", {})
    return found


def _offsets_seen(facts: Facts, config: Config) -> Facts:
    """Return the offsets of clocks that have gone on by no more than a start takes, of others how much they differ."""
    found: Facts = {}
    for clock, offset in _offsets(config).items():
        wanted = offset.get("secs", 0) + offset.get("nanosecs", 0) / 10**9
        differ = facts["clocks"]["children"][clock] - facts["host.clocks"][clock]
        found[clock] = offset if -0.001 <= differ - wanted <= TOLERANCE else differ
    return found


def _parameters(config: Config) -> Facts:
    """Return the values of parameters, which the kernel writes with a tab between numbers."""
    found: Facts = config["linux"].get("sysctl", {})
    return found


def _parameters_seen(facts: Facts, config: Config) -> Facts:
    return facts["sysctl"] if _parameters(config) else {}


def _memory_policy(config: Config) -> Any:
    """Return mode and nodes, as get_mempolicy(2) tells them."""
    wanted = config["linux"].get("memoryPolicy", {"mode": "MPOL_DEFAULT"})
    flags = sum(MEMORY_POLICY_FLAGS[name] for name in wanted.get("flags", []))
    nodes = [0] if wanted.get("nodes") else []
    return [MEMORY_POLICIES.index(wanted["mode"]) | flags, nodes]


def _devices(config: Config) -> Facts:
    kinds = {"c": "character device", "u": "character device", "b": "block device", "p": "fifo"}
    return {
        device["path"]: {
            "kind": kinds[device["type"]],
            "number": None if device["type"] == "p" else f"{device['major']}:{device['minor']}",
            "mode": device.get("fileMode", 0o666),
            **{key: device[key] for key in ("uid", "gid") if key in device},
        }
        for device in config["linux"].get("devices", [])
    }


def _devices_seen(facts: Facts, config: Config) -> Facts:
    entries = facts["devices"]["entries"] if _devices(config) else {}
    return {
        path: {key: entries[path][key] for key in wanted} if path in entries else None
        for path, wanted in _devices(config).items()
    }


def _cables(config: Config) -> Facts:
    """Return the addresses of the inner ends by their names."""
    return {
        cable["name"]: [cable["address"]] if "address" in cable else [] for cable in config["linux"].get("veth", [])
    }


def _cables_seen(facts: Facts, config: Config) -> Facts:
    names = facts["network"]["names"] if _cables(config) else []
    return {name: facts["network"]["addresses"].get(name, []) for name in names if name in _cables(config)}


CLAIMS = (
    Claim("hostname", lambda config: config.get("hostname") or NOTHING, fact("identity", "hostname")),
    Claim("domainname", lambda config: config.get("domainname") or NOTHING, fact("identity", "domainname")),
    Claim("linux.namespaces", _namespaces, _namespaces_seen),
    Claim("linux.uidMappings", _map("uid"), _map_seen("uid")),
    Claim("linux.gidMappings", _map("gid"), _map_seen("gid")),
    Claim("linux.timeOffsets", _offsets, _offsets_seen),
    Claim("linux.sysctl.*", _parameters, _parameters_seen),
    Claim(
        "linux.personality.domain",
        lambda config: PERSONALITIES[config["linux"].get("personality", {}).get("domain", "LINUX")],
        fact("attributes", "personality"),
    ),
    Claim("linux.memoryPolicy", _memory_policy, fact("attributes", "memory_policy")),
    Claim("linux.devices", _devices, _devices_seen),
    Claim(
        "linux.seccomp",
        lambda config: [2 if "seccomp" in config["linux"] else 0],
        fact("init", "seccomp"),
    ),
    Claim("linux.veth", _cables, _cables_seen),
)
