"""Knobs that change what the runtime is asked for, and so work on every OCI runtime."""

import os.path

from harness.runtime.config import Config, namespaces
from harness.runtime.mountoptions import PROPAGATION
from harness.runtime.privileges import SETS

KINDS = {"net": "network"}
DEVICES = {"kmsg": ("c", 1, 11)}  # Documentation/admin-guide/devices.txt of the kernel


def skip_ns(config: Config, kind: str) -> None:
    """Do not make this namespace; what can only be asked for with it goes too."""
    linux = config["linux"]
    name = KINDS.get(kind, kind)
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != name]
    if name == "uts":
        config.pop("hostname", None)
        config.pop("domainname", None)
    if name == "network":
        linux.pop("veth", None)
    if name == "user":
        linux.pop("uidMappings", None)
        linux.pop("gidMappings", None)
    elif "user" in namespaces(config):
        # A user namespace may mount procfs and sysfs only for namespaces that it owns; the host's are what is left.
        if name == "pid":
            bind_host_proc(config)
        if name == "network":
            bind_host_sysfs(config)


def grant_cap(config: Config, names: str) -> None:
    """Add capabilities to all five sets."""
    capabilities = config["process"].setdefault("capabilities", {})
    for kind in SETS:
        granted = capabilities.setdefault(kind, [])
        granted += [f"CAP_{name}" for name in names.split(",") if f"CAP_{name}" not in granted]


def skip_limit(config: Config, name: str) -> None:
    """Make the cgroup but do not set this limit (`cpu`) or this one value of it (`cpu.shares`)."""
    resources = config["linux"]["resources"]
    controller, _, value = name.partition(".")
    if value:
        del resources[controller][value]
    else:
        resources[controller] = {}


def skip_sysctl(config: Config, name: str) -> None:
    """Do not set this kernel parameter."""
    del config["linux"]["sysctl"][name]


def stray_cable(config: Config) -> None:
    """Connect the container to the host once more, as a leftover of another container's would."""
    config["linux"].setdefault("veth", []).append({"name": "stray0", "hostName": "stray1"})


def inherit_oom(config: Config) -> None:
    """Leave the launcher's preference of the out-of-memory killer as it is."""
    del config["process"]["oomScoreAdj"]


def inherit_rlimits(config: Config) -> None:
    """Leave the launcher's resource limits as they are."""
    del config["process"]["rlimits"]


def bind_host_proc(config: Config) -> None:
    """Bind the host's /proc instead of mounting one for the new PID namespace."""
    _bind_instead(config, "/proc", "/proc", "rbind")


def bind_host_sysfs(config: Config) -> None:
    """Bind the host's /sys, which shows the host's network, instead of mounting one for the new network namespace."""
    # In a user namespace what lies mounted over parts of /sys cannot be taken away, not even by leaving it out.
    _bind_instead(config, "/sys", "/sys", "rbind" if "user" in namespaces(config) else "bind")


def bind_host_cgroupfs(config: Config) -> None:
    """Bind the host's cgroup file systems instead of mounting them in the new cgroup namespace."""
    _bind_instead(config, "/sys/fs/cgroup", "/sys/fs/cgroup", "rbind")


def cgroup_by_bind(config: Config) -> None:
    """Bind the cgroup above the container's, as runtimes without a cgroup namespace do."""
    memory = "/sys/fs/cgroup/memory"
    _bind_instead(config, "/sys/fs/cgroup", memory if os.path.isdir(memory) else "/sys/fs/cgroup", "bind")


def cgroupfs_rw(config: Config) -> None:
    """Mount the cgroup file systems so that they can be written."""
    mount = _mount(config, "/sys/fs/cgroup")
    mount["options"] = [option for option in mount["options"] if option not in ("ro", "rro")]


def extra_mount(config: Config, path: str) -> None:
    """Bind one more path of the host."""
    config["mounts"].append({"destination": "/extra", "type": "bind", "source": path, "options": ["bind", "ro"]})


def drop_flag(config: Config, flag_at: str) -> None:
    """Leave out one option of one mount: `nosuid@/dev/shm`."""
    flag, _, destination = flag_at.partition("@")
    _mount(config, destination)["options"].remove(flag)


def propagation(config: Config, kind: str) -> None:
    """Let the private bind mounts hear of the host's mounts (`slave`), or the host of theirs too (`shared`)."""
    config["linux"]["rootfsPropagation"] = f"r{kind}"
    for mount in config["mounts"]:
        options = mount["options"]
        mount["options"] = [f"r{kind}" if option.removeprefix("r") in PROPAGATION else option for option in options]


def ro_nonrecursive(config: Config) -> None:
    """Make only the top of a recursive bind mount read-only."""
    for mount in config["mounts"]:
        mount["options"] = ["ro" if option == "rro" else option for option in mount["options"]]


def leave_visible_proc(config: Config) -> None:
    """Leave a second procfs about on which nothing is masked."""
    config["mounts"].append({"destination": "/leftover-proc", "type": "proc", "source": "proc", "options": []})


def leave_visible_sys(config: Config) -> None:
    """Leave a second sysfs about that can be written; made first, for a read-only one would make all later ones so."""
    config["mounts"].insert(0, {"destination": "/leftover-sys", "type": "sysfs", "source": "sysfs", "options": []})


def no_masks(config: Config) -> None:
    """Leave every path of procfs and sysfs open."""
    config["linux"]["maskedPaths"] = []
    config["linux"]["readonlyPaths"] = []


def bind_host_dev(config: Config) -> None:
    """Bind the host's /dev instead of making one; devices can then not be declared any more."""
    config["linux"].pop("devices", None)
    _bind_instead(config, "/dev", "/dev", "bind")


def bind_host_devpts(config: Config) -> None:
    """Bind the host's pseudoterminals instead of mounting a file system for the container's own."""
    _bind_instead(config, "/dev/pts", "/dev/pts", "bind")


def trust_image_dev(config: Config) -> None:
    """Take the image's /dev as it is instead of mounting a tmpfs there."""
    config["mounts"].remove(_mount(config, "/dev"))


def extra_dev(config: Config, name: str) -> None:
    """Declare one more device, and allow its use."""
    kind, major, minor = DEVICES[name]
    numbers = {"type": kind, "major": major, "minor": minor}
    config["linux"].setdefault("devices", []).append({"path": f"/dev/{name}", **numbers})
    rules = config["linux"].get("resources", {}).get("devices")
    if rules:
        rules.append({"allow": True, "access": "rwm", **numbers})


def skip_devcgroup(config: Config) -> None:
    """Leave every device allowed."""
    config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]


def tmpfs_default_size(config: Config) -> None:
    """Let every tmpfs become as big as the kernel allows by default, half of the machine's memory."""
    for mount in config["mounts"]:
        bounds = ("size=", "nr_inodes=", "nr_blocks=")
        mount["options"] = [option for option in mount["options"] if not option.startswith(bounds)]


def _mount(config: Config, destination: str) -> Config:
    for mount in config["mounts"]:
        if mount["destination"] == destination:
            found: Config = mount
            return found
    raise ValueError(f"the config has no mount at {destination} to sabotage")


def _bind_instead(config: Config, destination: str, source: str, how: str) -> None:
    mount = _mount(config, destination)
    recursive = "rro" if how == "rbind" else "ro"
    kept = [
        recursive if option == "ro" else option
        for option in mount["options"]
        if "=" not in option and option not in ("relatime", "strictatime", "newinstance")
    ]
    mount.update({"type": "bind", "source": source, "options": [how, "rprivate", *kept]})
