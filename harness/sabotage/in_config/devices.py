"""Knobs for /dev."""

from harness.runtime.config import Config
from harness.sabotage.editing import bind_instead, mount_at

DEVICES = {"kmsg": ("c", 1, 11)}  # Documentation/admin-guide/devices.txt of the kernel


def bind_host_dev(config: Config) -> None:
    """Bind the host's /dev instead of making one; devices can then not be declared any more."""
    config["linux"].pop("devices", None)
    bind_instead(config, "/dev", "/dev", "bind")


def bind_host_devpts(config: Config) -> None:
    """Bind the host's pseudoterminals instead of mounting a file system for the container's own."""
    bind_instead(config, "/dev/pts", "/dev/pts", "bind")


def bind_host_mqueue(config: Config) -> None:
    """Bind the host's message queues instead of mounting a file system for those of the new IPC namespace."""
    bind_instead(config, "/dev/mqueue", "/dev/mqueue", "bind")


def bind_host_shm(config: Config) -> None:
    """Bind the host's shared memory instead of mounting a tmpfs for the container's own."""
    bind_instead(config, "/dev/shm", "/dev/shm", "bind")


def trust_image_dev(config: Config) -> None:
    """Take the image's /dev as it is instead of mounting a tmpfs there."""
    config["mounts"].remove(mount_at(config, "/dev"))


def extra_dev(config: Config, name: str) -> None:
    """Declare one more device, and allow its use."""
    kind, major, minor = DEVICES[name]
    numbers = {"type": kind, "major": major, "minor": minor}
    config["linux"].setdefault("devices", []).append({"path": f"/dev/{name}", **numbers})
    rules = config["linux"].get("resources", {}).get("devices")
    if rules:
        rules.append({"allow": True, "access": "rwm", **numbers})


def tmpfs_default_size(config: Config) -> None:
    """Let every tmpfs become as big as the kernel allows by default, half of the machine's memory."""
    for mount in config["mounts"]:
        bounds = ("size=", "nr_inodes=", "nr_blocks=")
        mount["options"] = [option for option in mount["options"] if not option.startswith(bounds)]
