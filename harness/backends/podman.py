"""Podman, as root or as an ordinary user (`podman:rootless`), with a store of its own for each container."""

import contextlib
import json
import os
import resource
import shlex
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _command, _daemon
from harness.backends._engine import EXPRESSED, REMOVAL, Engine, shared_out, watched
from harness.backends.crun import refused_points
from harness.runtime.cgroup import wanted
from harness.runtime.fields import CAPABILITIES

INITS = ("catatonit", "/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit")
LINGER = 1.0  # seconds that podman may take to clean up behind a container
PAUSE = 0.01
USER, ID = "isoproof", 60_999  # who starts containers without being root: above what adduser(8) gives out
FIRST_ID, IDS = 1 << 20, 1 << 16  # his subordinate ids
CAPABILITY = "security.capability"
VFS_CAP_REVISION_3, VFS_CAP_EFFECTIVE = 0x03000000, 1
USERS = [{"containerID": 0, "hostID": ID, "size": 1}, {"containerID": 1, "hostID": FIRST_ID, "size": IDS}]
FILES = ("passwd", "group", "subuid", "subgid")  # of /etc, in which he is found


def make(options: Options) -> Backend:
    """Return the backend; `seccomp` is what stands behind `--security-opt seccomp=`."""
    options.only(["rootless", "seccomp"])
    return Podman(options)


class Podman(Engine):
    """The command `podman run --rootfs`, which takes the runtime that it is configured for."""

    program = "podman"
    package = "podman"
    root = "podman needs root here: an ordinary user's sandbox has no id but his, and so no subordinate ids"
    complaint = "Error: "
    expressed = EXPRESSED | {"mounts.overlay", "process.user.umask", "linux.namespaces.user"}
    bind_options = (*Engine.bind_options, "nosuid", "nodev", "noexec", "suid", "dev", "exec")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.rootless = "rootless" in options.values

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        lacking = super().available()
        if self.rootless:
            lacking = lacking or _command.missing("newuidmap", "uidmap") or _command.missing("setpriv", "util-linux")
            absent = [f"/etc/{name}" for name in FILES if not os.path.exists(f"/etc/{name}")]
            if absent and not lacking:
                return f"there is no {absent[0]} that the sandbox could mount one over in which the user has ids"
        return lacking

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config podman cannot express, or not as an ordinary user."""
        found = super().unsupported(config)
        linux = config["linux"]
        if "annotations" in config and not any(map(_command.found, INITS)):
            found.append("a PID 1 that reaps (catatonit is not installed; Debian's package catatonit has it)")
        if linux.get("readonlyPaths") == [] and linux.get("maskedPaths"):
            found.append("masks without read-only paths")
        for mount in config["mounts"]:
            if mount.get("type") == "tmpfs":
                options = mount.get("options", [])
                found += [f"a tmpfs with {word}" for word in options if word.startswith(("nr_inodes=", "nr_blocks="))]
        if self.rootless:
            found += _beyond_user(config)
        return found

    def serve(self, directory: Path) -> None:
        """Let its runtime have a place for its state, which is not to be chosen."""
        _daemon.make_writable("/run")

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container on the tree itself; an ordinary user's is a copy that is his."""
        end = time.monotonic() + shared_out(deadline)
        place = bundle / "podman"
        with _umask(0o077):
            place.mkdir()
            place.chmod(0o711)  # the root of a user namespace has to pass
            root = self._prepare(config, place)
            environment = self._environment(config, place)
            client = [*self._within(config, place), _command.path_to(self.program), *_store(place)]
            name = f"isoproof-{os.getpid()}"
            words = [*client, "run", "--rm", f"--name={name}", *self.words(config, place), "--rootfs", str(root)]
            words += config["process"]["args"]
        if self.rootless:
            for path in [place, *place.iterdir()]:
                if path != root:
                    os.chown(path, ID, ID)
        removed = False
        try:
            status, said = watched(config, words, io, end - time.monotonic(), environment)
            ended = self._exit(status, said, words)
            removed = status != _command.LATE and not ended.refused
        finally:
            if not removed:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    removal = [*client, "rm", "--force", "--time=0", "--ignore", name]
                    subprocess.run(removal, env=environment, capture_output=True, timeout=REMOVAL, check=False)
            _end_all(place)
        return ended

    def _prepare(self, config: Config, place: Path) -> Path:
        """Make what belongs to a user who is not root, and return the root of the container.

        As those of an image would, its files belong to who is root inside.
        """
        root = Path(config["root"]["path"])
        linux = config["linux"]
        if not self.rootless and not linux.get("uidMappings"):
            return root
        own = place / "rootfs"
        uids, gids = (linux.get(kind, USERS) for kind in ("uidMappings", "gidMappings"))
        _copy(root, own, uids, gids, devices=not self.rootless)
        if self.rootless:
            for name in ("home", "run"):
                (place / name).mkdir()
            line = {"passwd": f"{USER}:x:{ID}:{ID}::/:/bin/sh\n", "group": f"{USER}:x:{ID}:\n"}
            for name in FILES:
                known = Path("/etc", name).read_text() if name in line else ""
                (place / name).write_text(known + line.get(name, f"{USER}:{FIRST_ID}:{IDS}\n"))
        return own

    def _within(self, config: Config, place: Path) -> list[str]:
        """Return what a command is run by: in mounts of its own, without what crun refuses, and as who it is to be."""
        script = [f"mount -t tmpfs tmpfs {point}" for point in refused_points()]
        if config["process"].get("terminal") and not os.access("/tmp", os.W_OK):
            script.append("mount -t tmpfs tmpfs /tmp")  # where conmon has its socket for the terminal
        become: list[str] = []
        if self.rootless:
            script += [f"mount --bind {shlex.quote(str(place / name))} /etc/{name}" for name in FILES]
            become = ["setpriv", f"--reuid={ID}", f"--regid={ID}", "--clear-groups"]
        return [*(_command.within(*script) if script else []), *become]

    def _environment(self, config: Config, place: Path) -> dict[str, str]:
        environment = os.environ | {"TMPDIR": str(place)}
        if self.rootless:
            environment |= {"HOME": str(place / "home"), "XDG_RUNTIME_DIR": str(place / "run")}
        if not self.shipped:
            # By options, a user who is not root gets in his hands whatever is in the bounding set.
            bounding = config["process"].get("capabilities", {}).get("bounding", [])
            settings = place / "containers.conf"
            settings.write_text(f"[containers]\ndefault_capabilities = {json.dumps(bounding)}\n")
            environment["CONTAINERS_CONF"] = str(settings)
        return environment

    def _capabilities(self, config: Config) -> list[str]:
        process = config["process"]
        if self.shipped:
            return super()._capabilities(config)
        if not process.get("capabilities", {}).get("bounding"):
            return ["--cap-drop=ALL"]
        ambient = process["capabilities"].get("ambient", []) if process["user"]["uid"] != 0 else []
        return [f"--cap-add={name}" for name in ambient]

    def _namespaces(self, kinds: list[str]) -> list[str]:
        # A bridge would need /var/lib/cni, and an ordinary user's network a program, slirp4netns or pasta.
        words = ["--network=none"] if "network" in kinds else []
        words += ["--cgroupns=private"] if "cgroup" in kinds and not self.shipped else []
        return [*words, *super()._namespaces(kinds)]

    def words(self, config: Config, bundle: Path) -> list[str]:
        """Return the options of `run` for a config."""
        words = super().words(config, bundle)
        if "--ipc=host" in words:  # of which /dev/shm is a part
            words = [word for word in words if not word.startswith("--shm-size=")]
        for kind in ("uid", "gid"):
            for entry in config["linux"].get(f"{kind}Mappings", []):
                # An ordinary user counts his ids: he is 0, and his first subordinate id is 1.
                first = entry["hostID"] - (FIRST_ID - 1 if self.rootless else 0)
                words.append(f"--{kind}map={entry['containerID']}:{first}:{entry['size']}")
        words += _lowered([limit["type"] for limit in config["process"].get("rlimits", []) if not self.shipped])
        if not self.shipped:
            words += ["--unsetenv-all", "--read-only-tmpfs=false"]
        return words

    def _covers(self, linux: Config) -> list[str]:
        """Return what adds to the covers that podman has, or takes all away where none is asked for."""
        masked = linux.get("maskedPaths")
        if masked == [] and linux.get("readonlyPaths") == []:
            return ["--security-opt=unmask=ALL"]
        return [f"--security-opt=mask={':'.join(masked)}"] if masked else []

    def _mount(self, mount: Config, options: list[str]) -> list[str]:
        if mount.get("type") != "overlay":
            return super()._mount(mount, options)
        layers = dict(option.partition("=")[::2] for option in options)
        upper, work = layers["upperdir"], layers["workdir"]
        return [f"--volume={layers['lowerdir']}:{mount['destination']}:O,upperdir={upper},workdir={work}"]

    def _bind(self, source: str, destination: str, options: list[str]) -> list[str]:
        return [f"--volume={source}:{destination}:{','.join(options)}".rstrip(":")]


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _lowered(given: list[str]) -> list[str]:
    """Return the limits that we have, for those that podman would raise, where only CAP_SYS_RESOURCE could."""
    effective = int(Path("/proc/self/status").read_text().partition("CapEff:")[2].split()[0], 16)
    if effective >> CAPABILITIES.index("CAP_SYS_RESOURCE") & 1:
        return []
    raised = [name for name in ("NOFILE", "NPROC") if f"RLIMIT_{name}" not in given]
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in raised}
    return [f"--ulimit={name.lower()}={soft}:{hard}" for name, (soft, hard) in limits.items()]


def _beyond_user(config: Config) -> list[str]:
    """Return what of a config an ordinary user cannot have."""
    found = []
    if wanted(config):
        found.append("cgroups, which an ordinary user has not")
    if any(mount.get("type") == "overlay" for mount in config["mounts"]):
        found.append("an overlay on layers that are not his")
    if config["process"].get("oomScoreAdj", 0) < 0:
        found.append("a lower oom_score_adj, which only root may set")
    for kind in ("uidMappings", "gidMappings"):
        for entry in config["linux"].get(kind, []):
            if not FIRST_ID <= entry["hostID"] <= entry["hostID"] + entry["size"] <= FIRST_ID + IDS:
                found.append(f"{kind} beyond his subordinate ids")
    return found


def _store(place: Path) -> list[str]:
    options = {name: str(place / name) for name in ("root", "runroot", "tmpdir")}
    return [
        *(f"--{name}={path}" for name, path in options.items()),
        "--cgroup-manager=cgroupfs",
        "--events-backend=none",
    ]


def _copy(source: Path, target: Path, uids: list[Config], gids: list[Config], devices: bool) -> None:
    """Copy a tree as it is to be for a container with ids of its own; a user who is not root could make no devices."""
    subprocess.run(["cp", "--archive", str(source), str(target)], check=True)
    for path in [target, *target.rglob("*")]:
        status = path.lstat()
        if not devices and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            path.unlink()
            continue
        capability = b""
        with contextlib.suppress(OSError):
            capability = os.getxattr(path, CAPABILITY, follow_symlinks=False)
        root = outside(0, uids)
        os.chown(path, outside(status.st_uid, uids), outside(status.st_gid, gids), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(status.st_mode))  # a change of the owner has taken set-user-ID away
        if capability:
            # As from inside the user namespace: of the third version, which names whose root has set it.
            magic = struct.unpack_from("<I", capability)[0] & VFS_CAP_EFFECTIVE | VFS_CAP_REVISION_3
            os.setxattr(path, CAPABILITY, struct.pack("<I", magic) + capability[4:20] + struct.pack("<I", root))


def outside(number: int, mappings: list[Config]) -> int:
    """Return which id of the host's an id inside is, or the same where it is not mapped."""
    for entry in mappings:
        if entry["containerID"] <= number < entry["containerID"] + entry["size"]:
            return int(entry["hostID"]) + number - int(entry["containerID"])
    return number


def _end_all(place: Path) -> None:
    """Wait for what podman leaves behind to clean up, conmon and a command of its own, and end what goes on.

    There is nothing to clean up any more. An ordinary user's podman also has a process that keeps its namespaces.
    """
    for file in place.rglob("pause.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGKILL)
    end = time.monotonic() + LINGER
    while left := _bearing(str(place)):
        for pid in left if time.monotonic() > end else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE)


def _bearing(path: str) -> list[int]:
    """Return the processes in whose command line a path is."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if path.encode() in Path("/proc", entry, "cmdline").read_bytes():
                found.append(int(entry))
    return found
