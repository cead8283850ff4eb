"""The rungs of the ladder: which kernel feature comes after which, and what takes each away again.

The bottom is chroot(2) alone; the top is the container of each check as it should be. A rung is that container without
what comes above, so no rung is described: the knobs that prove the checks are turned, from the top down to it. What a
feature is for is told by the scenario of its name; only what has none is told here.
"""

from collections.abc import Iterator
from enum import Flag
from typing import NamedTuple

from harness import sabotage
from harness.runtime.config import Config
from harness.runtime.landlock_numbers import LANDLOCK_ACCESS_FS, LANDLOCK_ACCESS_NET, LANDLOCK_SCOPE


class Rung(NamedTuple):
    """One kernel feature: the name of its scenario, what it is called and where it is described.

    `knobs` take it away. `title` and `why` are for what no scenario is about.
    """

    name: str
    feature: str
    page: str
    knobs: tuple[str, ...] = ()
    title: str = ""
    why: str = ""


def _landlock(*kinds: type[Flag]) -> tuple[str, ...]:
    """Return the knobs that leave nothing for Landlock to restrict."""
    return tuple(f"skip-landlock={right.name.lower()}" for kind in kinds for right in kind if right.name)


RUNGS = (
    Rung(
        "chroot",
        "chroot",
        "chroot(2)",
        title="A container has another directory for its root",
        why="Paths begin somewhere else, and that is all: its program is root on the host, among the host's processes, "
        "in the host's network, and may call chroot(2) again to climb out.",
    ),
    Rung("mount", "mount namespace", "mount_namespaces(7)", ("skip-ns=mnt",)),
    Rung("devices", "its own /dev", "null(4)", ("bind-host-dev", "bind-host-devpts")),
    Rung("pid", "PID namespace", "pid_namespaces(7)", ("skip-ns=pid", "bind-host-proc")),
    Rung("uts", "UTS namespace", "uts_namespaces(7)", ("skip-ns=uts",)),
    Rung("ipc", "IPC namespace", "ipc_namespaces(7)", ("skip-ns=ipc", "bind-host-mqueue", "bind-host-shm")),
    Rung("net", "network namespace", "network_namespaces(7)", ("skip-ns=net", "bind-host-sysfs")),
    Rung("cgroup-ns", "cgroup namespace", "cgroup_namespaces(7)", ("skip-ns=cgroup", "bind-host-cgroupfs")),
    Rung("time", "time namespace", "time_namespaces(7)", ("skip-ns=time",)),
    Rung("user", "user namespace", "user_namespaces(7)", ("skip-ns=user",)),
    Rung("cgroup-limits", "control groups", "cgroups(7)", ("skip-limit=memory", "skip-limit=pids", "skip-limit=cpu")),
    Rung("procfs-sysfs", "masked paths", "proc(5)", ("no-masks",)),
    Rung(
        "read-only",
        "read-only mounts",
        "mount_setattr(2)",
        ("skip-ro-root", "drop-flag=ro@/sys", "cgroupfs-rw"),
        title="A container cannot write where it has no business to",
        why="Its root stays as the image was, and /sys and the control groups can be read but not changed: what is "
        "mounted read-only is so for root, too.",
    ),
    Rung(
        "fds-env",
        "nothing inherited",
        "close_range(2)",
        (
            "no-close-range",
            "env-passthrough",
            "stdio-pass-through",
            "no-setsid",
            "inherit=umask",
            "inherit=signals",
            "inherit=sched",
            "inherit=personality",
            "inherit=misc",
            "inherit=oom",
            "inherit=rlimits",
        ),
    ),
    Rung("keyring", "session keyring", "session-keyring(7)", ("skip-join-session",)),
    Rung("caps", "capabilities", "capabilities(7)", ("keep-caps",)),
    Rung(
        "no-new-privileges",
        "no_new_privs",
        "PR_SET_NO_NEW_PRIVS(2const)",
        ("no-nnp",),
        title="No program in a container has rights that its caller lacks",
        why="Set-user-ID bits and file capabilities, which an image may bring, grant nothing by execve(2) any more.",
    ),
    Rung(
        "landlock-lsm",
        "Landlock",
        "landlock(7)",
        _landlock(LANDLOCK_ACCESS_FS, LANDLOCK_ACCESS_NET, LANDLOCK_SCOPE),
    ),
    Rung("seccomp", "seccomp", "seccomp(2)", ("skip-seccomp",)),
)


def taken_down(config: Config) -> list[tuple[str, ...]]:
    """Return for each rung the knobs that make a container what it is there.

    What a container does not have need not be taken away. The knobs are turned from the top down, as each finds the
    container as those above have left it: a flag is dropped before the mount is exchanged that had it.
    """
    return [*reversed([*_from_the_top(config)])]


def _from_the_top(config: Config) -> Iterator[tuple[str, ...]]:
    turned: tuple[str, ...] = ()
    for rung in reversed(RUNGS):
        yield turned
        for knob in rung.knobs:
            if sabotage.fits(knob, config):
                config = sabotage.sabotaged_config([knob], config)
                turned += (knob,)
