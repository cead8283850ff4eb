"""systemd-nspawn, which takes an OCI bundle for the process and its namespaces, and options for what is mounted.

It is started as a service would: without registration, in a cgroup of its own that it keeps. It wants to write below
/run and /tmp of the host, which is read-only where it runs here, so it has others there.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _asked, _command, _sandboxes
from harness.runtime.config import namespaces
from harness.runtime.inspect import hierarchies
from harness.runtime.spec import READONLY, example

SIGN = "<27>"  # what syslog(3) has for an error of a daemon, and console-prefixed puts in front of it
OPTIONS = ("--quiet", "--register=no", "--keep-unit", "--console=pipe")
# What it would do to an image without being asked, and cannot where that has no /etc/localtime, or is read-only.
UNTOUCHED = ("--resolv-conf=off", "--timezone=off", "--link-journal=no")
MOST_LINKS = 40  # as the kernel follows: path_resolution(7)
NEEDED = ("usr", "run")  # what the root of an operating system has, and it does not run without
EXPRESSED = (
    "hostname",
    "linux.gidMappings",
    "linux.maskedPaths",
    "linux.namespaces.cgroup",
    "linux.namespaces.ipc",
    "linux.namespaces.mount",
    "linux.namespaces.network",
    "linux.namespaces.pid",
    "linux.namespaces.user",
    "linux.namespaces.uts",
    "linux.readonlyPaths",
    "linux.uidMappings",
    "mounts.bind",
    "mounts.tmpfs",
    "process.capabilities",
    "process.noNewPrivileges",
    "process.oomScoreAdj",
    "process.rlimits",
    "process.user.additionalGids",
    "root.readonly",
)
PROCESS = ("env", "cwd", "user", "capabilities", "rlimits", "oomScoreAdj")
LINUX = ("namespaces", "uidMappings", "gidMappings")
# What --bind does to a mount that it is asked to make, or can be asked for.
BIND = ("bind", "rbind", "ro", "rro", "nosuid", "nodev", "rprivate", "private")


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Nspawn(options)


class Nspawn(_command.Command):
    """It boots operating systems, or runs one program in the root of one; here it is the program."""

    program = "systemd-nspawn"
    package = "systemd-container"
    root = "systemd-nspawn takes root"

    def version(self) -> str:
        """Return the version of systemd, which is a mere number."""
        return _command.answer(self.program, "--version").partition("\n")[0].removeprefix("systemd ")

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config neither its bundles nor its options express."""
        lacking = _sandboxes.lacking(config, EXPRESSED)
        if not set(config.get("linux", {}).get("readonlyPaths", [])) <= set(READONLY):
            lacking.append("linux.readonlyPaths other than those of /proc that it makes read-only itself")
        usual = example(0, 0)["mounts"]
        own = [mount["destination"] for mount in usual]
        lacking += [
            f"another mount at {mount['destination']} than its own"
            for mount in config["mounts"]
            if mount["destination"] in own and mount not in usual and not _asked.is_bind(mount)
        ]
        lacking += [
            f"a bind mount at {mount['destination']} (it looks for the source when it has left the host)"
            for mount in config["mounts"]
            if _asked.is_bind(mount) and mount["destination"].startswith(_sandboxes.OF_KERNEL)
        ]
        if "user" in namespaces(config) and "oomScoreAdj" in config["process"]:
            lacking.append("process.oomScoreAdj in a user namespace (it may not change it there)")
        lacking += [
            f"options {', '.join(sorted(set(options) - set(BIND)))} of the mount at {mount['destination']}"
            for mount in config["mounts"]
            if _asked.is_bind(mount) and not (options := _sandboxes.options(mount)).keys() <= set(BIND)
        ]
        return lacking

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container, with what systemd would provide: a cgroup, places to write to, and an image with /usr."""
        asked = _asked.beyond_default(config) if self.shipped else config
        (bundle / "config.json").write_text(json.dumps(bundle_of(config, asked)))
        words = [
            *_command.within("mount -t tmpfs -o mode=755 run /run", "mount -t tmpfs -o mode=1777 tmp /tmp"),
            *[_command.path_to(self.program), *OPTIONS, *UNTOUCHED],
            *[f"--machine=isoproof-{os.getpid()}", f"--oci-bundle={bundle}", f"--directory={config['root']['path']}"],
            *(["--read-only"] if asked["root"].get("readonly") else []),
            *(["--no-new-privileges=yes"] if asked["process"].get("noNewPrivileges") else []),
            *files(config, asked),
            *config["process"]["args"],
        ]
        environment = {**os.environ, "SYSTEMD_LOG_TARGET": "console-prefixed"}
        with _unit(), _sandboxes.made(_wanted(config)):
            status, complaint = _sandboxes.run(words, io, deadline, SIGN, environment)
        return Exit(status, complaint if status == 1 else "", tuple(words))


def bundle_of(config: Config, asked: Config) -> Config:
    """Return what it takes from a bundle, of the only version of the runtime-spec that it knows.

    It passes over the arguments, `readonly` and `noNewPrivileges`, for which it has options, and over `sysctl`.
    """
    linux = {key: value for key, value in asked.get("linux", {}).items() if key in LINUX}
    return {
        "ociVersion": "1.0.0",
        "process": {key: config["process"][key] for key in PROCESS if key in asked["process"]},
        "root": {"path": asked["root"]["path"]},
        **({"hostname": asked["hostname"]} if "hostname" in asked else {}),
        **({"linux": linux} if linux else {}),
    }


def files(config: Config, asked: Config) -> Iterator[str]:
    """Yield the options for mounts and covers: --inaccessible finds nothing to cover with inside /proc and /sys."""
    usual = example(0, 0)["mounts"]
    for mount in asked["mounts"]:
        if _asked.is_bind(mount):
            options = _sandboxes.options(mount)
            kind = "--bind-ro" if {"ro", "rro"} & options.keys() else "--bind"
            depth = "rbind" if {"rbind", "rro"} & options.keys() else "norbind"
            yield f"{kind}={_escaped(mount['source'])}:{_escaped(mount['destination'])}:{depth}"
        elif mount["type"] == "tmpfs" and mount not in usual:
            yield f"--tmpfs={_escaped(mount['destination'])}:{','.join(mount.get('options', []))}"
    for path in asked.get("linux", {}).get("maskedPaths", []):
        there = _sandboxes.on_host(config, path)
        if there.is_dir():
            yield f"--tmpfs={_escaped(path)}:ro"
        elif there.exists():
            yield f"--bind=/dev/null:{_escaped(path)}"


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _wanted(config: Config) -> dict[Path, bool]:
    """Return what its users have in their images, and whether it is a directory.

    Without some directories it takes a tree for none of an operating system. It makes mount points itself, but not in a
    root that is read-only.
    """
    root = Path(config["root"]["path"])
    wanted = {root / name: True for name in NEEDED}
    if config["root"].get("readonly"):
        for mount in [mount for mount in config["mounts"] if mount not in example(0, 0)["mounts"]]:
            place = within_root(root, mount["destination"])
            wanted[place] = not _asked.is_bind(mount) or Path(mount["source"]).is_dir()
    return wanted


def within_root(root: Path, path: str) -> Path:
    """Return where a path of the container's leads on the host, whatever links there are."""
    place, left, links = root, path.split("/"), 0
    while left:
        part, *left = left
        if part == "..":
            place = place.parent if place != root else root
        elif (place / part).is_symlink() and links < MOST_LINKS:
            target, links = os.readlink(place / part), links + 1
            place, left = (root if target.startswith("/") else place), [*target.split("/"), *left]
        elif part:
            place = place / part
    return place


@contextlib.contextmanager
def _unit() -> Iterator[None]:
    """Be in a cgroup of one's own, as a service is, where it makes others and leaves them to the service manager."""
    units: list[tuple[Path, Path]] = []
    for hierarchy in hierarchies(set()):
        if hierarchy.version == 2 or not hierarchy.controllers:  # of version 1 it is systemd's that has none
            units.append((Path(hierarchy.own), Path(hierarchy.point, f"isoproof-{os.getpid()}")))
    try:
        for _, unit in units:
            unit.mkdir()
            (unit / "cgroup.procs").write_text("0")
        yield
    finally:
        for before, unit in units:
            (before / "cgroup.procs").write_text("0")
            _sandboxes.remove_cgroup(unit)
