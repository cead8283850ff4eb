"""runc, the reference runtime of the Open Container Initiative."""

from harness.backends import Backend, Config, Options
from harness.backends._oci import Oci


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Runc(options.executable or "runc", "Debian's package runc has it", options.shipped)


class Runc(Oci):
    """What it passes over without a word is said here, or a check would find fault with it for what nobody got."""

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config runc cannot express, or this user cannot have."""
        lacking = super().unsupported(config)
        if "landlock" in config["process"]:
            lacking.append("process.landlock (it passes over the field without a word)")
        if "kernel.pid_max" in config.get("linux", {}).get("sysctl", {}):
            lacking.append("the sysctl kernel.pid_max (it takes it for the host's, as it was before Linux 6.14)")
        if config.get("linux", {}).get("netDevices"):
            lacking.append("linux.netDevices (before 1.4 it passes over the field without a word)")
        return lacking
