"""The contenders that are other people's commands."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from harness.bench.contenders import NAME, Command, Place, Way

# crun 1.8 refuses hybrid control groups, version 1 beside a version 2 that has controllers.
WITHOUT_VERSION_2 = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'umount /sys/fs/cgroup/unified /sys/fs/cgroup/systemd && exec "$@"',
    "sh",
)
HIDDEN = "where version 2 of control groups is out of its sight, which it refuses beside version 1"


def unshare(place: Place) -> Command:
    """Return unshare(1)."""
    root = str(place.root("unshare"))
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork"]
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    return Command(
        place=place,
        name="unshare",
        what="unshare(1): new namespaces and a root of its own, and nothing else",
        package="Debian's package util-linux",
        ways=[Way(["unshare", *mapped, *namespaces, f"--root={root}", "/clock"])],
    )


def bubblewrap(place: Place) -> Command:
    """Return bubblewrap in its least form."""
    root = str(place.root("bubblewrap"))
    return Command(
        place=place,
        name="bubblewrap",
        what="its least form: new namespaces, the root read-only, /proc and /dev; no filter, no cgroups",
        package="Debian's package bubblewrap",
        ways=[Way(["bwrap", "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", "/clock"])],
    )


def crun(place: Place) -> Command:
    """Return crun."""
    ways = [Way([]), Way([], HIDDEN, WITHOUT_VERSION_2)]
    return _oci(place, "crun", "crun, in C; it makes cgroups, too", ways)


def crun_without_cgroups(place: Place) -> Command:
    """Return crun as it is when it makes no cgroups, as our own runtime makes none for this bundle."""
    option = ["--cgroup-manager=disabled"]
    ways = [Way(option), Way(option, HIDDEN, WITHOUT_VERSION_2)]
    return _oci(place, "crun", "crun, without cgroups", ways, name="crun-no-cgroups")


def runc(place: Place) -> Command:
    """Return runc."""
    return _oci(place, "runc", "runc, in Go, the reference; it makes cgroups, too", [Way([])])


def runsc(place: Place) -> Command:
    """Return gVisor, whose CLOCK_MONOTONIC begins with the container."""
    offline = ["--network=none"]
    traced = [*offline, "--ignore-cgroups", "--platform=ptrace"]
    ways = [
        Way([]),
        Way(offline, "without its network"),
        Way(traced, "without network and cgroups, by ptrace(2)"),
    ]
    return _oci(place, "runsc", "gVisor, a kernel of its own in user space", ways, calendar=True)


def _oci(place: Place, program: str, what: str, ways: Sequence[Way], name: str = "", calendar: bool = False) -> Command:
    """Return a runtime that takes bundles; its ways are its own options, before the command."""
    name = name or program
    bundle = place.copy(name, time.CLOCK_REALTIME) if calendar else place.bundle
    state = ["--root", str(place.directory / f"{name}-state")]
    container = f"{NAME}-{name}"

    def whole(way: Way) -> Way:
        return Way([program, *state, *way.command, "run", "--bundle", str(bundle), container], way.words, way.within)

    return Command(
        place=place,
        name=name,
        what=f"{what}; the same bundle as ours",
        package=f"Debian's package {program}",
        ways=[whole(way) for way in ways],
        removal=[program, *state, "delete", "--force", container],
        calendar=calendar,
    )


def nspawn(place: Place) -> Command:
    """Return systemd-nspawn, without the registration that would wait for a service."""
    root = str(place.root("nspawn"))
    options = ["--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe", f"--machine={NAME}"]
    return Command(
        place=place,
        name="nspawn",
        what="systemd-nspawn, with a network of its own and not registered",
        package="Debian's package systemd-container",
        ways=[Way(["systemd-nspawn", *options, f"--directory={root}", "/clock"])],
        leavings=[f"/run/systemd/nspawn/propagate/{NAME}"],
    )


def lxc(place: Place) -> Command:
    """Return lxc-execute."""
    root = place.root("lxc")
    config = place.directory / "lxc" / "config"
    config.write_text(f"lxc.rootfs.path = dir:{root}\nlxc.uts.name = clock\nlxc.net.0.type = empty\n")
    state = place.directory / "lxc" / "state"
    state.mkdir()
    lock = Path(f"/run/lxc/lock{state}")
    return Command(
        place=place,
        name="lxc",
        what="lxc-execute, with its own first process and an empty network",
        package="Debian's package lxc",
        ways=[Way(["lxc-execute", "-P", str(state), "-n", NAME, "-f", str(config), "--", "/clock"])],
        removal=["lxc-stop", "-P", str(state), "-n", NAME, "--kill"],
        cgroups=["lxc.pivot"],
        leavings=[f"{lock}/.{NAME}", *map(str, [lock, *lock.parents][:-2])],
    )


def podman(place: Place) -> Command:
    """Return podman, with a store of its own."""
    root = str(place.root("podman"))
    folders = {option: str(place.directory / option) for option in ("root", "runroot", "tmpdir")}
    store = ["podman", *(f"--{option}={path}" for option, path in folders.items())]
    lowered = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]

    def way(*options: str, words: str = "", within: Sequence[str] = ()) -> Way:
        return Way([*store, "run", "--rm", "--network=none", *options, "--rootfs", root, "/clock"], words, within)

    return Command(
        place=place,
        name="podman",
        what="podman run --rm, without a network; it takes the runtime that it is configured for",
        package="Debian's package podman",
        ways=[
            way(),
            way(*lowered, words="with lower limits than it asks for"),
            way(*lowered, words=f"{HIDDEN}, and with lower limits than it asks for", within=WITHOUT_VERSION_2),
        ],
        preparation=[*store, "ps"],  # an ordinary user's first call leaves a process that all later ones need
        removal=[*store, "rm", "--all", "--force"],
        cgroups=["libpod_parent"],
    )
