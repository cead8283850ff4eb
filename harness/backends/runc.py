"""runc, the reference runtime of the Open Container Initiative."""

from harness.backends import Backend, Config, Options, _asked
from harness.backends._oci import Oci


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Runc(options)


class Runc(Oci):
    """What it passes over without a word is said here, or a check would find fault with it for what nobody got."""

    program = "runc"
    package = "runc"

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config runc cannot express, or this user cannot have."""
        lacking = super().unsupported(config) + _asked.refused_sysctls(config)
        for mount in config["mounts"]:
            if mount["destination"].startswith("/proc/") and mount.get("type") == "bind":
                lacking.append(
                    f"a mount on {mount['destination']} (it mounts nothing in /proc but what lxcfs provides)"
                )
        return lacking
