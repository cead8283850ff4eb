"""Docker, by daemons of our own in each sandbox, without its firewall and, unless as shipped, without its bridge.

An engine keeps the files of containers in images, so each distinct tree becomes one, by `docker import`.
"""

import contextlib
import functools
import hashlib
import io as memory
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Mapping
from errno import EPERM
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _command, _daemon
from harness.backends._engine import EXPRESSED, PROPAGATIONS, REMOVAL, Engine, shared_out, watched
from harness.errors import HarnessError
from harness.runtime.config import namespaces
from harness.runtime.inspect import hierarchies
from harness.runtime.spec import example

IMPORT = 20.0  # seconds that making an image may take
PATIENCE = 5.0  # seconds that a daemon may take to say its version
NOBODY = 65534
REMAPPED = ("nobody", "nogroup", str(NOBODY))  # whose subordinate ids are those of containers with a user namespace
FIRST_ID, IDS = 1 << 20, 1 << 16
MAPPINGS = [{"containerID": 0, "hostID": FIRST_ID, "size": IDS}]
XATTR = "SCHILY.xattr."  # what tar's extended headers call an extended attribute: tar(5)
DEFAULT_ERRNO = 23  # the first version that knows defaultErrnoRet in a filter
KEYLESS = 24  # the first version that keeps no key in /etc/docker


def make(options: Options) -> Backend:
    """Return the backend; `seccomp` is what stands behind `--security-opt seccomp=`."""
    options.only(["seccomp"])
    return Docker(options)


class Docker(Engine):
    """The client `docker run`.

    User namespaces are a matter of the daemon (`userns-remap`), so there is one with them and one without.
    """

    program = "docker"
    package = "docker.io"
    root = "a daemon of docker needs root"
    complaint = "docker: "
    expressed = EXPRESSED | {"domainname", "linux.namespaces.user"}

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        return super().available() or _command.missing("dockerd", self.package)

    def version(self) -> str:
        """Return the version of the daemon, which is what isolates."""
        return _version()

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config docker cannot express."""
        found = super().unsupported(config)
        process, linux = config["process"], config["linux"]
        if process.get("capabilities", {}).get("ambient") and process["user"]["uid"] != 0:
            found.append("capabilities for a user who is not root")
        if "annotations" in config and not _command.found("docker-init"):
            found.append("a PID 1 that reaps (docker-init is not installed; Debian's package tini has one)")
        masked = {path for path in linux.get("maskedPaths", []) if os.path.exists(path)}
        if masked - set(example(0, 0)["linux"]["maskedPaths"]):
            found.append("masks of the user's choice")
        if any(mount["destination"].startswith("/proc/") for mount in config["mounts"]):
            found.append("a mount inside /proc (runc allows but what lxcfs provides)")
        if config.get("domainname") and linux.get("uidMappings"):
            found.append("a domain name in a user namespace (it is written as a sysctl that is the host's root's)")
        if linux.get("uidMappings") and not _remaps():
            found.append(f"a user namespace without {' and '.join(_daemon.SUBORDINATE)}, which its daemon reads")
        for kind in ("uidMappings", "gidMappings"):
            if linux.get(kind, MAPPINGS) != MAPPINGS:
                found.append(f"{kind} of the user's choice")
        if not self.shipped and _major() < DEFAULT_ERRNO and _told_apart(linux.get("seccomp") or {}):
            found.append(
                f"a filter with an errno of its own in rules on arguments (before {DEFAULT_ERRNO} it passes over "
                "defaultErrnoRet without a word, and libseccomp refuses what is left)"
            )
        return found

    def serve(self, directory: Path) -> None:
        """Start the daemons."""
        _daemon.make_writable("/run")
        for hierarchy in hierarchies(set()):
            with contextlib.suppress(OSError):  # it makes these itself for its first container, and keeps them
                Path(hierarchy.point, "docker").mkdir()
        client = _command.path_to(self.program)
        # As shipped, containers are at a bridge of the sandbox's, and through it can talk to what is the host there.
        network = {} if self.shipped else {"bridge": "none", "ip-forward": False}
        self.servers = {False: Server(client, directory / "plain", network)}
        if _remaps():
            _daemon.grant_ids(REMAPPED, FIRST_ID, IDS, directory)
            remap = {"userns-remap": f"{NOBODY}:{NOBODY}"}
            self.servers[True] = Server(client, directory / "remapped", network | remap)
        for server in self.servers.values():
            server.wait()

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container from an image that is the tree."""
        end = time.monotonic() + shared_out(deadline)
        server = self.servers["user" in namespaces(config)]
        image = server.image(Path(config["root"]["path"]))
        name = f"isoproof-{os.getpid()}"
        words = [*server.client, "run", "--rm", f"--name={name}", *self.words(config, bundle), image]
        words += config["process"]["args"]
        removed = False
        try:
            status, said = watched(config, words, io, end - time.monotonic())
            ended = self._exit(status, said, words)
            removed = status != _command.LATE and not ended.refused  # by the daemon, which the client has waited for
        finally:
            if not removed:
                with contextlib.suppress(HarnessError):  # there may be none
                    server.ask(["rm", "--force", name], REMOVAL)
        return ended

    def _namespaces(self, kinds: list[str]) -> list[str]:
        own = {"network": "--network=none", "cgroup": "--cgroupns=private"}
        asked = [] if self.shipped else [option for kind, option in own.items() if kind in kinds]
        return [*asked, *super()._namespaces(kinds)]

    def _covers(self, linux: Config) -> list[str]:
        """Return what takes all covers away, where none is asked for; others than its own docker does not have."""
        bare = linux.get("maskedPaths") == [] and linux.get("readonlyPaths") == []
        return ["--security-opt=systempaths=unconfined"] if bare else []

    def _bind(self, source: str, destination: str, options: list[str]) -> list[str]:
        words = ["type=bind", f"source={source}", f"target={destination}", *(["readonly"] if "ro" in options else [])]
        words += [f"bind-propagation={word}" for word in options if word in PROPAGATIONS]
        return [f"--mount={','.join(words)}"]


class Server:
    """A daemon of docker and what it has made images of."""

    def __init__(self, executable: str, directory: Path, settings: Mapping[str, object]) -> None:
        directory.mkdir()
        host = f"unix://{directory}/socket"
        self.client = [executable, f"--config={directory}/client", f"--host={host}"]
        self._socket = directory / "socket"
        self._images = directory / "images"
        self._images.mkdir()
        file = directory / "daemon.json"
        file.write_text(json.dumps({**_settings(directory, host), **settings}))
        self._daemon = _daemon.Daemon(["dockerd", f"--config-file={file}"], directory)

    def wait(self) -> None:
        """Wait until it answers; raises HarnessError where it does not."""
        self._daemon.wait(self._answers)

    def image(self, root: Path) -> str:
        """Return the name of an image with the files of a tree; it is made once."""
        archive = archived(root)
        name = f"isoproof:{hashlib.sha256(archive).hexdigest()[:16]}"
        known = self._images / name
        if not known.exists():
            self.ask(["import", "-", name], IMPORT, archive)
            known.touch()
        return name

    def ask(self, words: list[str], patience: float, given: bytes = b"") -> None:
        """Ask the daemon for something else than a container. Raises HarnessError, with what it has said."""
        what = f"docker {words[0]}"
        try:
            subprocess.run([*self.client, *words], input=given, capture_output=True, timeout=patience, check=True)
        except subprocess.CalledProcessError as error:
            raise HarnessError(f"{what}: {error.stderr.decode(errors='backslashreplace').strip()}") from None
        except subprocess.TimeoutExpired:
            raise HarnessError(f"{what}: it has not ended within {patience:g} s") from None

    def _answers(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            self.ask(["version"], PATIENCE)
        except HarnessError:
            return False
        return True


def archived(root: Path) -> bytes:
    """Return a tree as an archive, with owners, device nodes and extended attributes; the same for the same tree."""
    archive = memory.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            member = tar.gettarinfo(path, str(path.relative_to(root)))
            member.mtime, member.uname, member.gname = 0, "", ""
            names = os.listxattr(path, follow_symlinks=False)
            values = [os.getxattr(path, name, follow_symlinks=False) for name in names]
            member.pax_headers = {
                XATTR + name: value.decode("utf-8", "surrogateescape")
                for name, value in zip(names, values, strict=True)
            }
            if member.isreg():
                with path.open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)
    return archive.getvalue()


def _settings(directory: Path, host: str) -> dict[str, object]:
    """Return the daemon's own configuration, which takes the place of the machine's."""
    settings: dict[str, object] = {
        "hosts": [host],
        "data-root": f"{directory}/data",
        "exec-root": f"{directory}/exec",
        "pidfile": f"{directory}/pid",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "iptables": False,
        "ip6tables": False,
        "ip-masq": False,
    }
    if _major() < KEYLESS:
        settings["deprecated-key-path"] = f"{directory}/key.json"
    return settings


def _remaps() -> bool:
    """Return whether there are files over which those can be mounted that give a daemon its subordinate ids."""
    return all(map(os.path.exists, _daemon.SUBORDINATE))


@functools.cache
def _version() -> str:
    """Return the daemon's version: it stands before a comma."""
    return _command.version_of("dockerd", "--version").rstrip(",")


def _major() -> int:
    version = _version().partition(".")[0]
    return int(version) if version.isdigit() else KEYLESS


def _told_apart(filter_: Config) -> bool:
    """Return whether a filter denies otherwise by default than with EPERM, and has rules on arguments that do, too."""
    if filter_.get("defaultErrnoRet", EPERM) == EPERM:
        return False
    return any(rule.get("args") and rule.get("errnoRet", EPERM) != EPERM for rule in filter_.get("syscalls", []))
