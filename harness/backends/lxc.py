"""LXC, by lxc-execute and a configuration file: an application container whose first process is LXC's own."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _asked, _command, _daemon, _sandboxes
from harness.backends._lxc_seccomp import inexpressible, profile
from harness.errors import HarnessError
from harness.runtime import devicefilter, limits
from harness.runtime.config import namespaces
from harness.runtime.inspect import hierarchies
from harness.runtime.mountoptions import ATTRIBUTES

PIVOT = "lxc.pivot"  # the cgroup in which its monitors end, those of all containers, which nobody removes
REFUSED = 1  # the status of lxc-execute itself for a container that it did not start
SHARE = Path("/usr/share/lxc/config")
DEFAULT = Path("/etc/lxc/default.conf")  # what is added to the configuration of every container that is created
BRIDGE = "lxcbr0"  # that the service lxc-net makes, and that the default configuration joins to
FILES = {"mount": "mnt", "network": "net"}  # where its names, those of /proc/PID/ns, are not the runtime-spec's
ATTRIBUTES_OF_ALL = {f"r{name}" for name in ATTRIBUTES}
EXPRESSED = (
    "hostname",
    "domainname",
    "annotations.isoproof.init",  # its first process reaps, in any case
    "linux.cgroupsPath",
    "linux.gidMappings",
    "linux.maskedPaths",
    "linux.namespaces.cgroup",
    "linux.namespaces.ipc",
    "linux.namespaces.mount",
    "linux.namespaces.network",
    "linux.namespaces.pid",
    "linux.namespaces.time",
    "linux.namespaces.user",
    "linux.namespaces.uts",
    "linux.readonlyPaths",
    "linux.seccomp",
    "linux.sysctl",
    "linux.timeOffsets",
    "linux.uidMappings",
    "mounts.bind",
    "mounts.cgroup",
    "mounts.overlay",
    "mounts.proc",
    "mounts.tmpfs",
    "process.capabilities",
    "process.noNewPrivileges",
    "process.oomScoreAdj",
    "process.rlimits",
    "process.user.additionalGids",
    "root.readonly",
)


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only()
    return Lxc(options)


class Lxc(_command.Command):
    """It takes a file of keys and values, one a line."""

    program = "lxc-execute"
    package = "lxc"
    root = "only root's containers are made with it: an ordinary user's need ids and cgroups that root has granted"

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config it cannot express."""
        if self.shipped:
            config = _complete(_asked.beyond_default(config))
        resources = [name for name in _asked.features(config) if name.startswith("linux.resources.")]
        # By its defaults /proc/sys is read-only, too.
        covered = self.shipped or "/proc/sys" in config["linux"].get("readonlyPaths", [])
        return [*_asked.lacking(config, (*EXPRESSED, *resources)), *_inexpressible(config, covered)]

    def serve(self, directory: Path) -> None:
        """Give it a place for its locks, ids to map, and for its defaults the bridge that its service lxc-net makes."""
        _daemon.make_writable("/run")
        # It has newuidmap(1) write the maps, if there is one, and that asks for what is granted to root, too.
        _daemon.grant_ids(["root"], 1, 2**32 - 2, directory)
        if self.shipped:
            for words in (
                ["link", "add", BRIDGE, "type", "bridge"],
                ["address", "add", "10.0.3.1/24", "dev", BRIDGE],
                ["link", "set", BRIDGE, "up"],
            ):
                done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
                if done.returncode:
                    raise HarnessError(f"make {BRIDGE}, of LXC's default configuration: {done.stderr.strip()}")

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container by lxc-execute, with a folder of its own below the bundle."""
        name = f"isoproof-{os.getpid()}"
        place = bundle / "lxc" / name
        place.mkdir(0o700, parents=True)
        place.parent.chmod(0o711)  # a container's root that is not the host's must be able to pass
        file, log = place / "config", place / "log"
        if self.shipped:
            config = _complete(_asked.beyond_default(config))
        if config["root"].get("readonly"):
            _make_mount_points(config)
        cgroup = config["linux"].get("cgroupsPath", "").strip("/") or f"lxc.payload.{name}"
        cgroups = (cgroup, f"lxc.monitor.{name}")
        file.write_text("".join(f"{line}\n" for line in configuration(config, place, cgroups, self.shipped)))
        executable = _command.path_to(self.program)
        words = [executable, "-P", str(place.parent), "-n", name, "-f", str(file), "-o", str(log), "-l", "ERROR"]
        words += ["--", *config["process"]["args"]]
        status = _command.LATE
        try:
            status = _command.run(words, io, deadline)
        finally:
            # Of what else it does not remove when it ends by itself it shall be seen that it does not.
            _remove(PIVOT, *(cgroups if status == _command.LATE else ()))
        return Exit(status, complaint(log) if status == REFUSED else "", tuple(words))


def configuration(config: Config, place: Path, cgroups: tuple[str, str], shipped: bool = False) -> Iterator[str]:
    """Yield the lines of the configuration file for a config, and write its filter beside it.

    As it is shipped, it begins with what `lxc-create` writes, and only what was asked for beyond our default follows.
    """
    process, linux = config["process"], config["linux"]
    kinds = [entry["type"] for entry in linux["namespaces"]]
    if shipped:
        yield f"lxc.include = {SHARE}/common.conf"
        if "user" in kinds:
            yield f"lxc.include = {SHARE}/userns.conf"
        yield f"lxc.include = {DEFAULT}"
    else:
        yield "lxc.net.0.type = empty"
        yield "lxc.net.0.flags = up"
        yield "lxc.tty.max = 0"
        yield "lxc.console.path = none"
    yield f"lxc.rootfs.path = dir:{config['root']['path']}"
    if config["root"].get("readonly"):
        yield "lxc.rootfs.options = ro"
    if config.get("hostname"):
        yield f"lxc.uts.name = {config['hostname']}"
    yield from _namespaces(kinds, linux)
    yield from _mounts(config)
    yield from _covers(config)
    sysctls = linux.get("sysctl", {}) | ({"kernel.domainname": config["domainname"]} if "domainname" in config else {})
    yield from (f"lxc.sysctl.{key} = {value}" for key, value in sysctls.items())
    yield from _cgroups(config, cgroups)
    if "seccomp" in linux:
        (place / "filter").write_text(profile(linux["seccomp"]))
        yield f"lxc.seccomp.profile = {place / 'filter'}"
    yield from _process(process)


def _namespaces(kinds: list[str], linux: Config) -> Iterator[str]:
    """Yield which namespaces are made, how ids are mapped, and by how much clocks go wrong."""
    yield f"lxc.namespace.clone = {' '.join(FILES.get(kind, kind) for kind in kinds)}"
    for letter, key in (("u", "uidMappings"), ("g", "gidMappings")):
        for entry in linux.get(key, []):
            yield f"lxc.idmap = {letter} {entry['containerID']} {entry['hostID']} {entry['size']}"
    for key, clock in (("boot", "boottime"), ("monotonic", "monotonic")):
        if offset := linux.get("timeOffsets", {}).get(clock):
            yield f"lxc.time.offset.{key} = {offset.get('secs', 0)}s"


def _mounts(config: Config) -> Iterator[str]:
    """Yield what is mounted. It has keys of its own for /dev, for pseudo terminals and for cgroups."""
    for mount in config["mounts"]:
        options = mount.get("options", [])
        values = _sandboxes.options(mount)
        if mount["destination"] == "/dev" and mount["type"] == "tmpfs":
            yield "lxc.autodev = 1"
            if "size" in values:
                yield f"lxc.autodev.tmpfs.size = {_sandboxes.in_bytes(values['size'])}"
        elif mount["type"] == "devpts":
            yield f"lxc.pty.max = {values.get('max', 1024)}"
        elif mount["type"] == "cgroup":
            yield f"lxc.mount.auto = cgroup:{'ro' if 'ro' in options else 'rw'}:force"
        else:
            kind = "none" if _asked.is_bind(mount) else mount["type"]
            made = "create=file" if _is_file(mount) else "create=dir"
            fields = [mount.get("source", kind), mount["destination"].lstrip("/"), kind, ",".join([*options, made])]
            yield f"lxc.mount.entry = {' '.join(map(_escaped, fields))} 0 0"


def _covers(config: Config) -> Iterator[str]:
    """Yield mounts over what is to be read-only or hidden, if it is there: /proc and /sys show what the host's do."""
    for path in config["linux"].get("readonlyPaths", []):
        if os.path.exists(path):
            below = _escaped(path.lstrip("/"))
            yield f"lxc.mount.entry = {below} {below} none bind,relative,ro,optional 0 0"
    for path in config["linux"].get("maskedPaths", []):
        target = _escaped(path.lstrip("/"))
        there = _sandboxes.on_host(config, path)
        if there.is_dir():
            yield f"lxc.mount.entry = tmpfs {target} tmpfs ro,optional 0 0"
        elif there.exists():
            yield f"lxc.mount.entry = /dev/null {target} none bind,ro,optional 0 0"


def _cgroups(config: Config, cgroups: tuple[str, str]) -> Iterator[str]:
    """Yield limits, by the names that the files have in the cgroups of this host."""
    yield f"lxc.cgroup.dir.container = {cgroups[0]}"
    yield f"lxc.cgroup.dir.monitor = {cgroups[1]}"
    yield f"lxc.cgroup.dir.monitor.pivot = {PIVOT}"
    for hierarchy in hierarchies(limits.controllers(config, 2)):
        key = "lxc.cgroup" if hierarchy.version == 1 else "lxc.cgroup2"
        for limit in limits.writes(config, hierarchy.version, hierarchy.controllers):
            yield f"{key}.{limit.file} = {limit.text}"
    if devicefilter.wanted(config):
        filter = devicefilter.read(config)
        whole, exception = ("allow", "deny") if filter.allow else ("deny", "allow")
        for key in ("lxc.cgroup", "lxc.cgroup2"):
            yield f"{key}.devices.{whole} = a"
            yield from (f"{key}.devices.{exception} = {devices}" for devices in filter.exceptions)


def _process(process: Config) -> Iterator[str]:
    """Yield what becomes of the first process, and so of the program."""
    user = process["user"]
    yield f"lxc.init.uid = {user['uid']}"
    yield f"lxc.init.gid = {user['gid']}"
    if groups := user.get("additionalGids"):
        yield f"lxc.init.groups = {','.join(map(str, groups))}"
    yield f"lxc.init.cwd = {process['cwd']}"
    yield from (f"lxc.environment = {variable}" for variable in process.get("env", []))
    if "capabilities" in process:
        kept = [name.removeprefix("CAP_").lower() for name in process["capabilities"].get("bounding", [])]
        yield "lxc.cap.drop ="
        yield f"lxc.cap.keep = {' '.join(kept) or 'none'}"
    if process.get("noNewPrivileges"):
        yield "lxc.no_new_privs = 1"
    if "oomScoreAdj" in process:
        yield f"lxc.proc.oom_score_adj = {process['oomScoreAdj']}"
    for limit in process.get("rlimits", []):
        yield f"lxc.prlimit.{limit['type'].removeprefix('RLIMIT_').lower()} = {limit['soft']}:{limit['hard']}"


def _make_mount_points(config: Config) -> None:
    """Make what is missing in the image to mount on, as users do for a read-only root: create= would fail with EROFS.

    Where something else than a directory is on the way nothing is made; it refuses to mount behind a symbolic link.
    """
    covered = [Path(mount["destination"]) for mount in config["mounts"]]
    for mount, destination in zip(config["mounts"], covered, strict=True):
        if any(other in destination.parents for other in covered):
            continue
        path = Path(config["root"]["path"])
        *folders, name = destination.parts[1:]
        for folder in folders:
            path /= folder
            if not os.path.lexists(path):
                path.mkdir()
            if path.is_symlink() or not path.is_dir():
                break
        else:
            path /= name
            if not os.path.lexists(path):
                path.touch() if _is_file(mount) else path.mkdir()


def _inexpressible(config: Config, covered: bool) -> Iterator[str]:
    """Yield which values it cannot express of what it can be asked for otherwise."""
    process, linux = config["process"], config["linux"]
    if "mount" not in namespaces(config):
        yield "a container without a mount namespace"
    if any(option in ATTRIBUTES_OF_ALL for mount in config["mounts"] for option in mount.get("options", [])):
        yield "mount options for all mounts below, such as rro"
    if process["user"]["uid"] and process.get("capabilities", {}).get("ambient"):
        yield "process.capabilities.ambient"
    if covered:
        if linux.get("sysctl"):
            yield "linux.sysctl beside a read-only /proc/sys (it writes them when that is mounted already)"
        if config.get("domainname"):
            yield "domainname beside a read-only /proc/sys (there is only the sysctl, which it writes too late)"
    if any("\n" in variable for variable in process.get("env", [])):
        yield "a variable of several lines"
    if any(offset.get("nanosecs") for offset in linux.get("timeOffsets", {}).values()):
        yield "linux.timeOffsets with parts of a second (it takes them, and applies whole seconds alone)"
    if "seccomp" in linux:
        yield from inexpressible(linux["seccomp"])


def complaint(log: Path) -> str:
    """Return what has been logged of a failure, the cause and what it was needed for; nothing if it did start."""
    with contextlib.suppress(OSError):
        # lxc-execute NAME TIME ERROR    conf - ../src/lxc/conf.c:mount_entry:2446 - No such file or directory - …
        lines = log.read_text(errors="replace").splitlines()
        if any("Failed to spawn container" in line for line in lines):
            return "; ".join([line.split(" - ", 2)[-1] for line in lines if " ERROR " in line][:2])
    return ""


def _remove(*cgroups: str) -> None:
    """Kill what is still in some cgroups, and remove those that are there."""
    places = {place for hierarchy in hierarchies(set()) for place in (hierarchy.point, hierarchy.own)}
    for top in (Path(place, cgroup) for place in places for cgroup in cgroups):
        if top.is_dir():
            _sandboxes.remove_cgroup(top)


def _complete(config: Config) -> Config:
    """Return what goes beyond the default config with all that a translation looks at."""
    process = {"user": {"uid": 0, "gid": 0}, "cwd": "/"} | config["process"]
    process["user"] = {"uid": 0, "gid": 0} | process["user"]
    linux = {"namespaces": _asked.usual()["linux"]["namespaces"]} | config.get("linux", {})
    return config | {"process": process, "linux": linux}


def _is_file(mount: Config) -> bool:
    return _asked.is_bind(mount) and not os.path.isdir(mount["source"])


def _escaped(field: str) -> str:
    """Return a field of a line of fstab(5)."""
    return field.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
