"""Knobs for mounts and volumes."""

import os.path

from harness.runtime.config import Config
from harness.runtime.mountoptions import PROPAGATION
from harness.sabotage.editing import bind_instead, mount_at


def bind_host_proc(config: Config) -> None:
    """Bind the host's /proc instead of mounting one for the new PID namespace."""
    bind_instead(config, "/proc", "/proc", "rbind")


def bind_host_sysfs(config: Config) -> None:
    """Bind the host's /sys, which shows its network, with all that is mounted below it, instead of a new one."""
    bind_instead(config, "/sys", "/sys", "rbind")


def bind_host_binfmt(config: Config) -> None:
    """Bind the host's table of program formats; not into /proc, where runc would refuse it."""
    mount = {"destination": "/binfmt", "type": "bind", "source": "/proc/sys/fs/binfmt_misc", "options": ["bind"]}
    config["mounts"].append(mount)


def bind_host_cgroupfs(config: Config) -> None:
    """Bind the host's cgroup file systems instead of mounting them in the new cgroup namespace."""
    bind_instead(config, "/sys/fs/cgroup", "/sys/fs/cgroup", "rbind")


def cgroup_by_bind(config: Config) -> None:
    """Bind the cgroup above the container's, as runtimes without a cgroup namespace do."""
    memory = "/sys/fs/cgroup/memory"
    bind_instead(config, "/sys/fs/cgroup", memory if os.path.isdir(memory) else "/sys/fs/cgroup", "bind")


def cgroupfs_rw(config: Config) -> None:
    """Mount the cgroup file systems so that they can be written."""
    mount = mount_at(config, "/sys/fs/cgroup")
    mount["options"] = [option for option in mount["options"] if option not in ("ro", "rro")]


def extra_mount(config: Config, path: str) -> None:
    """Bind one more path of the host, with all that is mounted below: in a user namespace both come or neither."""
    config["mounts"].append({"destination": "/extra", "type": "bind", "source": path, "options": ["rbind", "ro"]})


def skip_mount(config: Config, destination: str) -> None:
    """Leave out one mount."""
    config["mounts"].remove(mount_at(config, destination))


def drop_flag(config: Config, flag_at: str) -> None:
    """Leave out one option of one mount: `nosuid@/dev/shm`."""
    flag, _, destination = flag_at.partition("@")
    mount_at(config, destination)["options"].remove(flag)


def skip_ro_root(config: Config) -> None:
    """Leave the root writable."""
    config["root"]["readonly"] = False


def no_overlay(config: Config) -> None:
    """Bind the lowest layer of each overlay, to be written, instead of laying another one over it."""
    for mount in config["mounts"]:
        if mount["type"] == "overlay":
            (source,) = (option.removeprefix("lowerdir=") for option in mount["options"] if "lowerdir=" in option)
            mount.update({"type": "bind", "source": source, "options": ["bind", "rprivate"]})


def no_quota(config: Config) -> None:
    """Keep the changes of each overlay beside its lowest layer, and not on a file system of their own."""
    for mount in config["mounts"]:
        if mount["type"] == "overlay":
            options = dict(option.partition("=")[::2] for option in mount["options"])
            beside = os.path.dirname(options["lowerdir"])
            options |= {"upperdir": f"{beside}/upper", "workdir": f"{beside}/work"}
            mount["options"] = [f"{name}={value}" for name, value in options.items()]


def devpts_no_max(config: Config) -> None:
    """Leave out how many pseudoterminals there may be."""
    for mount in config["mounts"]:
        if mount["type"] == "devpts":
            mount["options"] = [option for option in mount["options"] if not option.startswith("max=")]


def drop_idmap(config: Config) -> None:
    """Show the owners of every volume as they are on the disk."""
    for mount in config["mounts"]:
        mount.pop("uidMappings", None)
        mount.pop("gidMappings", None)


def volume_by_parent(config: Config) -> None:
    """Bind the directory above the last volume as well, and let the working directory be in that."""
    volume = config["mounts"][-1]
    parent, name = os.path.split(volume["source"])
    config["mounts"].append({**volume, "destination": "/extra", "source": parent})
    inside = config["process"]["cwd"].removeprefix(volume["destination"])
    config["process"]["cwd"] = f"/extra/{name}{inside}"


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


def unmask(config: Config, path: str) -> None:
    """Leave one path of procfs or sysfs open."""
    config["linux"]["maskedPaths"].remove(path)


def skip_ro_paths(config: Config) -> None:
    """Leave writable what of procfs changes the whole machine."""
    config["linux"]["readonlyPaths"] = []


def no_masks(config: Config) -> None:
    """Leave every path of procfs and sysfs open."""
    config["linux"]["maskedPaths"] = []
    config["linux"]["readonlyPaths"] = []
