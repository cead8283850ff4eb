"""Kernel parameters, but only those that belong to a namespace of the container's own. sysctl(8), proc_sys(5).

Everything else below /proc/sys is the whole machine's, and setting it for one container would set it for all.
"""

import re

from harness.runtime.config import Config, namespaces
from harness.runtime.errors import ConfigError
from harness.runtime.step import Call, Host, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O

# Which namespace owns a parameter, by the beginning of its name; $ ends a whole name.
OWNERS = {
    "fs.mqueue.": "ipc",
    "kernel.auto_msgmni$": "ipc",
    "kernel.msgmax$": "ipc",
    "kernel.msgmnb$": "ipc",
    "kernel.msgmni$": "ipc",
    "kernel.sem$": "ipc",
    "kernel.shm": "ipc",
    "kernel.pid_max$": "pid",
    "net.": "network",
    "user.max_": "user",
}

NAME = re.compile(r"[a-z0-9_-]+([./][A-Za-z0-9_*-]+)+\Z")
PID_MAX_IS_PRIVATE = (6, 14)


def write(config: Config, host: Host) -> list[Step]:
    """Set the parameters through the host's /proc, which is surely one, before the image's tree is in sight.

    Raises ConfigError for a parameter that no namespace of the container owns.
    """
    calls: list[Call] = []
    for name, value in config.get("linux", {}).get("sysctl", {}).items():
        _check(name, value, config, host)
        calls += [
            Call("openat", (AT_FDCWD, f"/proc/sys/{_path(name)}", O.WRONLY | O.CLOEXEC), saves="file"),
            Call("write", (Saved("file"), value, len(value.encode()))),
            Call("close", (Saved("file"),)),
        ]
    why = "in its own namespaces already, and still by a /proc that is no image's: proc_sys(5)"
    return [Step("sysctl", why, tuple(calls))] if calls else []


def _path(name: str) -> str:
    """Return where a parameter is: what separates its parts first does so, and the other sign is one of a part.

    `net.ipv4.conf.eth0/100.forwarding` and `net/ipv4/conf/eth0.100/forwarding` are the same: sysctl(8).
    """
    first = next(sign for sign in name if sign in "./")
    return name if first == "/" else name.translate(str.maketrans("./", "/."))


def _check(name: str, value: str, config: Config, host: Host) -> None:
    if not NAME.match(name) or "\n" in value:
        raise ConfigError(f"config.json: linux.sysctl: {name!r}: not the name and value of one kernel parameter")
    parameter = _path(name).replace("/", ".")
    owner = next((kind for start, kind in OWNERS.items() if (parameter + "$").startswith(start)), None)
    if owner is None:
        raise ConfigError(f"config.json: linux.sysctl: {name}: belongs to no namespace, so it would change the host")
    if owner not in namespaces(config) or owner in host.shared:
        raise ConfigError(
            f"config.json: linux.sysctl: {name}: needs a namespace of type {owner} that is not the launcher's, "
            "or it would change the host"
        )
    if parameter == "kernel.pid_max" and host.kernel < PID_MAX_IS_PRIVATE:
        raise ConfigError(f"config.json: linux.sysctl: {name}: one for the whole host before Linux 6.14")
