"""Knobs for limits."""

from harness.runtime.config import Config


def skip_limit(config: Config, name: str) -> None:
    """Make the cgroup but do not set these limits (`memory`) or this one value of them (`cpu.shares`)."""
    resources = config["linux"]["resources"]
    controller, _, value = name.partition(".")
    if value:
        del resources[controller][value]
    else:
        resources[controller] = {}


def inherit_oom(config: Config) -> None:
    """Leave the launcher's preference of the out-of-memory killer as it is."""
    del config["process"]["oomScoreAdj"]


def inherit_rlimits(config: Config) -> None:
    """Leave the launcher's resource limits as they are."""
    del config["process"]["rlimits"]


def usual_scheduling(config: Config) -> None:
    """Schedule the program like any other, on the processors and for the disk."""
    del config["process"]["scheduler"]
    del config["process"]["ioPriority"]


def skip_devcgroup(config: Config) -> None:
    """Leave every device allowed."""
    config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
