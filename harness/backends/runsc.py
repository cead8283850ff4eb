"""runsc of gVisor, whose containers have a kernel of their own, in user space."""

import contextlib
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _asked
from harness.backends._oci import Oci
from harness.runtime.config import namespaces
from harness.runtime.syscalls import invoke

PASSED_OVER = {
    *(
        "linux.devices",
        "linux.sysctl",
        "mounts.idmapped",
        "mounts.overlay",
        "process.apparmorProfile",
        "process.scheduler",
    ),
    "process.oomScoreAdj",  # which it sets for the process in which its kernel is
}
PR_SET_CHILD_SUBREAPER = 36
PROPAGATIONS = ("private", "rprivate", "slave", "rslave")
REAPING = 0.5  # seconds that a killed container's processes may take to die
OPTIONS = ("platform", "network", "oci-seccomp")  # of runsc itself: `runsc:platform=kvm`


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only(OPTIONS)
    return Runsc(options)


class Runsc(Oci):
    """It is run without cgroups, for whom they limit cannot be seen: inside are no processes of the host's."""

    program = "runsc"
    package = "runsc"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options = options.values

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        if self.shipped and os.geteuid() != 0:
            return "`runsc spec` writes no config that an ordinary user can run"
        return super().available()

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config gVisor cannot express, or passes over without a word."""
        lacking = super().unsupported(config)
        wanted = _asked.features(config)
        lacking += [f"{name} (it passes over that)" for name in sorted(wanted & PASSED_OVER)]
        if "linux.seccomp" in wanted and "oci-seccomp" not in self.options:
            lacking.append("linux.seccomp (it passes over that; runsc:oci-seccomp has it heeded)")
        if any(name.startswith(("linux.resources.", "linux.cgroupsPath", "mounts.cgroup")) for name in wanted):
            lacking.append("cgroups (it is run with --ignore-cgroups)")
        if "linux.namespaces.time" in wanted:
            lacking.append("a time namespace (its kernel has none)")
        if any("rro" in mount.get("options", []) for mount in config["mounts"]):
            lacking.append("the mount option rro")
        if config.get("linux", {}).get("rootfsPropagation", "private") not in PROPAGATIONS:
            lacking.append("linux.rootfsPropagation (it takes private and slave)")
        return lacking

    def around(self) -> Sequence[str]:
        """Return what lifts a limit on the size of files, under which the memory of its kernel cannot be made."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        return ("prlimit", f"--fsize={'unlimited' if hard < 0 else hard}:") if soft != hard else ()

    def remove(self, command: Sequence[str], name: str) -> None:
        """Have it remove the container, when what is left of one that was killed is reaped: it would wait for that."""
        end = time.monotonic() + REAPING
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < end:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.01)
        super().remove(command, name)

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container; whoever outlives the command that started it becomes a child of this process."""
        invoke("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        return super().run(config, bundle, io, deadline)

    def flags(self, config: Config) -> Sequence[str]:
        """Return its own options."""
        given = {"ignore-cgroups": "", "network": _network(config)} | self.options
        return [f"--{name}={value}" if value else f"--{name}" for name, value in given.items()]


def _network(config: Config) -> str:
    """Return which network a container gets.

    Its own is made of the interfaces of the namespace, in which there is nothing but loopback, and which versions of
    2022 take for the machine's first one, and refuse, since newer kernels show the same sysctls in all of them.
    """
    return "none" if "network" in namespaces(config) else "host"
