"""Knobs for namespaces, ids, clocks and the network."""

import os.path

from harness.runtime.config import Config, namespaces
from harness.sabotage.in_config.devices import bind_host_mqueue
from harness.sabotage.in_config.mounts import bind_host_proc, bind_host_sysfs

KINDS = {"net": "network"}


def skip_ns(config: Config, kind: str) -> None:
    """Do not make this namespace; what can only be asked for with it goes too."""
    linux = config["linux"]
    name = KINDS.get(kind, kind)
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != name]
    if name == "uts":
        config.pop("hostname", None)
        config.pop("domainname", None)
    if name == "time":
        linux.pop("timeOffsets", None)
    if name == "network":
        linux.pop("veth", None)
    if name == "user":
        linux.pop("uidMappings", None)
        linux.pop("gidMappings", None)
    elif "user" in namespaces(config):
        # A user namespace may mount the kernel's file systems only for namespaces that it owns; the host's are left.
        if name == "pid":
            bind_host_proc(config)
        if name == "ipc":
            bind_host_mqueue(config)
        if name == "network":
            bind_host_sysfs(config)


def share_ns(config: Config, path: str) -> None:
    """Join another container's namespace, the one at this path, instead of making one of its kind."""
    kind = os.path.basename(path)
    (entry,) = (entry for entry in config["linux"]["namespaces"] if entry["type"] == KINDS.get(kind, kind))
    entry["path"] = path


def map_ids(config: Config, extent: str) -> None:
    """Map other ids than were asked for, users and groups alike: `first inside:first outside:how many`."""
    inside, outside, size = map(int, extent.split(":"))
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [{"containerID": inside, "hostID": outside, "size": size}]


def skip_time_offsets(config: Config) -> None:
    """Make the time namespace but leave its clocks as they are."""
    del config["linux"]["timeOffsets"]


def skip_sysctl(config: Config, name: str) -> None:
    """Do not set this kernel parameter."""
    del config["linux"]["sysctl"][name]


def no_sysctl_allowlist(config: Config) -> None:
    """Have a hook set the parameters, whosever they are; it gets all in one text and takes that apart at each plus."""
    text = "+".join(f"{name}={value}" for name, value in config["linux"].pop("sysctl").items())
    script = 'cd /proc/sys && IFS=+ && for each in $1; do echo "${each#*=}" > "$(echo "${each%%=*}" | tr . /)"; done'
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script, "sh", text], "env": ["PATH=/usr/bin:/bin"]}
    config.setdefault("hooks", {}).setdefault("createRuntime", []).append(hook)


def stray_cable(config: Config) -> None:
    """Connect the container to the host once more, as a leftover of another container's would."""
    config["linux"].setdefault("veth", []).append({"name": "stray0", "hostName": "stray1"})
