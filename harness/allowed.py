"""Differences between runtimes that the runtime-spec allows: each with its section and what that leaves open."""

import fnmatch
from collections.abc import Callable
from typing import Any, NamedTuple

from harness.runtime.config import Config

Shown = dict[str, Any]


def always(_config: Config, _shown: Shown) -> bool:
    """Return that a difference is allowed whatever the config and the runtimes say."""
    return True


class Allowed(NamedTuple):
    """Differences of a field, or of starts, that are nobody's fault; `when` tells by the config and what is shown."""

    path: str  # a pattern of fnmatch, over the paths of `harness.outcomes.Group`
    section: str
    sentence: str
    when: Callable[[Config, Shown], bool] = always


def remounted(config: Config, shown: Shown) -> bool:
    """Return whether a config changes a mount by another, and what differs is a flag."""
    flags = all(isinstance(value, bool) for value in shown.values())
    return flags and any("remount" in mount.get("options", []) for mount in config["mounts"])


def without_mode(config: Config, _shown: Shown) -> bool:
    """Return whether a config says nothing of the mode of a device."""
    return any("fileMode" not in device for device in config["linux"].get("devices", []))


ALLOWED = (
    Allowed(
        "mounts.*",
        'config.md "Linux mount options"',
        "whether a remount keeps flags that it does not name is not said; mount(8) does where no source is given",
        remounted,
    ),
    Allowed(
        "linux.devices.*.mode",
        'config-linux.md "Devices"',
        "what the mode of a device is where it has no fileMode is not said",
        without_mode,
    ),
    Allowed(
        "start refused: unknown version specified",  # in the words of crun
        'config.md "Specification version"',
        "a config for a later version is not compatible with a runtime that supports an earlier one only",
        lambda config, _shown: config["ociVersion"] > "1.0.2",
    ),
    Allowed(
        "start refused: *swappiness*",
        'config-linux.md "Memory"',
        "values of swappiness are from 0 to 100, though Linux has taken up to 200 since 5.8",
        lambda config, _shown: config["linux"]["resources"]["memory"]["swappiness"] > 100,
    ),
    Allowed(
        "start refused: *cannot use unified on cgroup v*",
        'config-linux.md "Unified"',
        "unified is for version 2 of cgroups, and a runtime that uses version 1 cannot convert it",
    ),
)


def allowance(path: str, config: Config, shown: Shown) -> Allowed | None:
    """Return what allows a difference, or None."""
    for allowed in ALLOWED:
        if fnmatch.fnmatchcase(path, allowed.path) and allowed.when(config, shown):
            return allowed
    return None
