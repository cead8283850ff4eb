"""unshare(1): new namespaces, and the rest by hand."""

import os
from collections.abc import Iterator, Sequence
from typing import ClassVar

from harness.backends import Backend, Config, Options
from harness.backends._byhand import ByHand
from harness.runtime.config import namespaces

FLAGS = {
    "mount": "--mount",
    "uts": "--uts",
    "ipc": "--ipc",
    "network": "--net",
    "pid": "--pid",
    "cgroup": "--cgroup",
    "user": "--user",
    "time": "--time",
}


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Unshare(options)


class Unshare(ByHand):
    """It maps ids by newuidmap(1), which gives none that /etc/subuid does not have, or else the caller's own alone."""

    program = "unshare"
    packages: ClassVar[dict[str, str]] = ByHand.packages | {"ip": "iproute2", "hostname": "hostname"}

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config it cannot express."""
        lacking = super().unsupported(config)
        linux = config.get("linux", {})
        own = {"uidMappings": os.geteuid(), "gidMappings": os.getegid()}
        for kind, host in own.items():
            if linux.get(kind) and linux[kind] != [{"containerID": 0, "hostID": host, "size": 1}]:
                lacking.append(f"linux.{kind} (it maps other ids by newuidmap(1), and only those of /etc/subuid)")
        if any(offset.get("nanosecs") for offset in linux.get("timeOffsets", {}).values()):
            lacking.append("linux.timeOffsets (it takes whole seconds)")
        if "mount" not in namespaces(config):
            lacking.append("no mount namespace (all that is mounted would stay)")
        return lacking

    def expressed(self) -> Sequence[str]:
        """Return what it can express besides what the script can."""
        return (
            *(f"linux.namespaces.{kind}" for kind in FLAGS),
            *("domainname", "linux.uidMappings", "linux.gidMappings", "linux.timeOffsets"),
        )

    def around(self, config: Config) -> Sequence[str]:
        """Return the words of the command in front of the shell."""
        return [self.program, *_flags(config), "--fork", "--kill-child"]


def _flags(config: Config) -> Iterator[str]:
    linux = config["linux"]
    kinds = namespaces(config)
    yield from (FLAGS[kind] for kind in FLAGS if kind in kinds)
    if "user" in kinds:
        yield "--map-root-user"
    for clock, offset in linux.get("timeOffsets", {}).items():
        yield f"--{clock}={offset['secs']}"
