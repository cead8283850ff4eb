"""crun, a runtime in C."""

import os
from collections.abc import Sequence

from harness.backends import Backend, Config, Options, _asked, _command
from harness.backends._oci import Oci
from harness.runtime.inspect import hierarchies


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Crun(options)


class Crun(Oci):
    """It refuses version 1 of control groups beside a version 2 that has controllers, so that one is hidden from it."""

    program = "crun"
    package = "crun"

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        if missing := super().available():
            return missing
        if os.geteuid() != 0 and refused_points():
            return "crun refuses version 1 of cgroups beside a version 2 that has controllers; only root can hide one"
        return None

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config crun cannot express, or this user cannot have."""
        lacking = super().unsupported(config) + _asked.refused_sysctls(config)
        if config.get("linux", {}).get("resources", {}).get("unified") and refused_points():
            lacking.append("linux.resources.unified (version 2 of cgroups is hidden from it here)")
        return lacking

    def around(self) -> Sequence[str]:
        """Return what runs it in a mount namespace without version 2, where it would refuse that.

        It is covered, not unmounted: crun makes files where it believes version 2 to be, and they shall go, too.
        """
        points = refused_points()
        return _command.within(*(f"mount -t tmpfs tmpfs {point}" for point in points)) if points else ()


def refused_points() -> list[str]:
    """Return where version 2 of cgroups is mounted, with controllers, beside version 1."""
    found = list(hierarchies(set()))
    if all(hierarchy.version == 2 for hierarchy in found):
        return []
    return [hierarchy.point for hierarchy in found if hierarchy.version == 2 and hierarchy.controllers]
