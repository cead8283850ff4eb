"""The user namespace: which ids inside are which ids outside. user_namespaces(7)."""

from harness.runtime.config import Config, namespaces
from harness.runtime.step import GO_DESCRIPTOR, Call, Filled, Host, Packed, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O


def write_maps(config: Config, host: Host) -> list[Step]:
    """Write the id maps of the child, which waits for them: until they stand it is nobody in its own namespace."""
    if "user" not in namespaces(config):
        return []
    linux = config["linux"]
    steps = []
    if host.rootless:
        why = "an ordinary user may map a group only after giving up setgroups(2): user_namespaces(7)"
        steps.append(Step("deny-setgroups", why, _write("setgroups", "deny")))
    for kind in ("gid", "uid"):
        lines = "".join(
            f"{entry['containerID']} {entry['hostID']} {entry['size']}\n" for entry in linux[f"{kind}Mappings"]
        )
        why = f"until then every {kind} of the child is the overflow {kind}: user_namespaces(7)"
        steps.append(Step(f"{kind}-map", why, _write(f"{kind}_map", lines)))
    return steps


def _write(name: str, text: str) -> tuple[Call, ...]:
    opened = Saved("map")
    return (
        Call("openat", (AT_FDCWD, Filled(f"/proc/{{pid}}/{name}"), O.WRONLY | O.CLOEXEC), saves="map"),
        Call("write", (opened, text, len(text))),
        Call("close", (opened,)),
    )


def wait(config: Config) -> list[Step]:
    """Hold the child back until its maps are written."""
    if "user" not in namespaces(config):
        return []
    calls = (Call("read", (GO_DESCRIPTOR, Packed(b"\0", "a byte"), 1)),)
    return [Step("wait-for-maps", "before them every file it made would be nobody's: user_namespaces(7)", calls)]


def take_ids(config: Config) -> list[Step]:
    """Let the child take ids that are mapped."""
    if "user" not in namespaces(config):
        return []
    uid = _first(config["linux"]["uidMappings"])
    gid = _first(config["linux"]["gidMappings"])
    calls = (Call("setresgid", (gid, gid, gid)), Call("setresuid", (uid, uid, uid)))
    return [Step("mapped-ids", "the launcher's own need not be mapped: user_namespaces(7)", calls)]


def _first(mappings: list[Config]) -> int:
    """Return 0 where it is mapped, for whoever sets up a container expects to be root in it, else the first id."""
    ids: list[int] = [entry["containerID"] for entry in mappings]
    return min(ids)
