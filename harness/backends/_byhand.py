"""Containers as people make them by hand: a shell script of mount(8), mknod(1), setpriv(1) and chroot(8).

What it cannot do, nobody does by hand: filters, limits of cgroups, terminals, masks. Of these the default config has
masks; they are passed over, or no check could be made at all, and the checks about them fail.
"""

import contextlib
import os
import posixpath
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.backends import Config, Exit, Streams, _asked, _command
from harness.errors import HarnessError
from harness.runtime.config import namespaces

FAILED = 125  # the script's own status, and that of chroot(8); 126 and 127 are chroot's about the program
NEVER = ("idmap", "ridmap", "rro", "rnosuid", "rnodev", "rnoexec", "tmpcopyup")  # options that mount(8) does not have
EXPRESSED = (
    *("root.readonly", "linux.devices", "process.oomScoreAdj", "process.user.additionalGids"),
    *("process.noNewPrivileges", "process.rlimits", "process.capabilities", "process.user.umask"),
    *("mounts.bind", "mounts.tmpfs", "mounts.proc", "mounts.overlay"),
)
SHARED = ("/dev/", "/sys/")  # which are the host's as people have them who ask for nothing
NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
STREAMS = {name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
LINKS = {"fd": "/proc/self/fd", "ptmx": "pts/ptmx", **STREAMS}


class ByHand(_command.Command):
    """A command that runs the script somewhere, such as in new namespaces."""

    package = "util-linux"
    packages: ClassVar[dict[str, str]] = {"mount": "mount", "setpriv": "util-linux", "chroot": "coreutils"}

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        needed = (_command.missing(name, package) for name, package in self.packages.items())
        return super().available() or next(filter(None, needed), None)

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config goes beyond the default one and has no command."""
        usual = _asked.features(_asked.usual())
        lacking = sorted(_asked.features(config) - usual - set(EXPRESSED) - set(self.expressed()))
        if config["process"]["cwd"] != "/":
            lacking.append("process.cwd (chroot(8) goes to /)")
        if config["process"]["user"]["uid"] and config["process"].get("capabilities", {}).get("ambient"):
            lacking.append("ambient capabilities of another user than root (chroot(8) becomes that by setuid(2))")
        options = [option for mount in config["mounts"] for option in mount.get("options", []) if option in NEVER]
        lacking += [f"the mount option {option}" for option in options]
        if self.shipped:
            made = [*_asked.beyond_default(config)["mounts"], *config["linux"].get("devices", [])]
            places = [entry.get("destination") or entry["path"] for entry in made]
            lacking += [f"{place} (it would be made on the host)" for place in places if place.startswith(SHARED)]
        return lacking

    def expressed(self) -> Sequence[str]:
        """Return what it can express besides what the script can."""
        return ()

    def asked(self, config: Config) -> Config:
        """Return what of a config is translated."""
        return config

    def around(self, config: Config) -> Sequence[str]:
        """Return the words of the command in front of the shell."""
        raise NotImplementedError

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run the script and after it the program, in the same process."""
        root = config["root"]["path"]
        config = self.asked(_bare(_asked.beyond_default(config)) if self.shipped else config)
        log = bundle / "setup.log"
        log.touch(0o600)
        text = "\n".join(script(config, root, log))
        words = [*self.around(config), "sh", "-euc", text, "sh", *config["process"]["args"]]
        try:
            status = _command.run([_command.path_to(words[0]), *words[1:]], io, deadline)
            if status == _command.LATE:
                raise HarnessError(f"run {self.program}: it has not ended in {deadline:g} s, and was killed")
        finally:
            self.remove(config, root)
        return Exit(status, _refusal(status, log), tuple(words))

    def remove(self, config: Config, root: str) -> None:
        """Remove what of it does not go with its processes."""


def script(config: Config, root: str, log: Path) -> Iterator[str]:
    """Yield the lines of the script; the arguments of the shell are the program and its own.

    Its own complaints go to the log and not where the container's output goes, and it ends with a status of its own.
    """
    process = config["process"]
    quoted = shlex.quote(root)
    yield f"exec 3>&2 2>{shlex.quote(str(log))}"
    yield f"trap 'exit {FAILED}' EXIT"
    if config.get("hostname"):
        yield f"hostname {shlex.quote(config['hostname'])}"
    if config.get("domainname"):
        yield f"domainname {shlex.quote(config['domainname'])}"
    if "network" in namespaces(config):
        yield "ip link set lo up"
    yield f"mount --bind {quoted} {quoted}"
    for mount in config["mounts"]:
        yield from _mount(mount, root)
        if mount["destination"] == "/dev" and mount["type"] == "tmpfs":
            yield from _devices(config, f"{root}/dev")
    for device in config["linux"].get("devices", []):
        yield _node(f"{root}{device['path']}", device)
    if config["root"].get("readonly"):
        yield f"mount -o remount,bind,ro {quoted}"
    if "oomScoreAdj" in process:
        yield f"echo {process['oomScoreAdj']} > /proc/self/oom_score_adj"
    yield f"umask {process['user'].get('umask', 0o022):04o}"
    yield "exec 2>&3 3>&-"
    yield shlex.join(["exec", *_entry(config, root)]) + ' "$@"'


def _entry(config: Config, root: str) -> Iterator[str]:
    """Yield the words that become the program: limits, environment, rights, and at last the root."""
    process = config["process"]
    user = process.get("user", {"uid": 0, "gid": 0})
    limits = [f"--{limit['type'][7:].lower()}={limit['soft']}:{limit['hard']}" for limit in process.get("rlimits", [])]
    yield from ("prlimit", *limits) if limits else ()
    yield from ("env", "-i", *process.get("env", []))
    groups = ",".join(map(str, user.get("additionalGids", [])))
    rights = [f"--groups={groups}" if groups else "--clear-groups"] if os.geteuid() == 0 else []
    rights += ["--no-new-privs"] if process.get("noNewPrivileges") else []
    if "capabilities" in process:
        # chroot(8) needs some itself, and nothing takes them away after it.
        own = ["CAP_SYS_CHROOT", *(["CAP_SETUID", "CAP_SETGID"] if user["uid"] else [])]
        sets = process["capabilities"]
        given = {
            "--inh-caps": sets.get("inheritable", []),
            "--ambient-caps": sets.get("ambient", []),
            "--bounding-set": dict.fromkeys([*sets.get("bounding", []), *own]),
        }
        rights += [
            f"{flag}=" + ",".join(["-all", *(f"+{name[4:].lower()}" for name in names)])
            for flag, names in given.items()
        ]
    yield from (_command.path_to("setpriv"), *rights) if rights else ()
    yield _command.path_to("chroot")
    if user["uid"] or user["gid"]:
        yield f"--userspec=+{user['uid']}:+{user['gid']}"
        yield f"--groups={groups}"
    yield root


def _mount(mount: dict[str, Any], root: str) -> Iterator[str]:
    """Yield the lines that make a mount and what it is mounted on."""
    place = shlex.quote(root + mount["destination"])
    source = shlex.quote(mount.get("source", "none"))
    # Each is a new instance since Linux 4.7.
    options = [option for option in mount.get("options", []) if option != "newinstance"]
    if _asked.is_bind(mount):
        options = [option for option in options if option not in ("bind", "rbind")]
        recursively = "rbind" if "rbind" in mount.get("options", []) else "bind"
        made = f"mkdir -p {_above(root + mount['destination'])}; touch {place}"
        yield f"if [ -d {source} ]; then mkdir -p {place}; elif [ ! -e {place} ]; then {made}; fi"
        yield f"mount -o {shlex.quote(','.join([recursively, *options]))} {source} {place}"
        return
    yield f"mkdir -p {place}"
    wanted = f"-o {shlex.quote(','.join(options))} " if options else ""
    yield f"mount -t {shlex.quote(mount['type'])} {wanted}{source} {place}"


def _devices(config: Config, directory: str) -> Iterator[str]:
    """Yield the lines that fill /dev."""
    user_namespace = "user" in namespaces(config)
    for name, (major, minor) in NODES.items():
        place = shlex.quote(f"{directory}/{name}")
        if user_namespace:
            yield f"touch {place}; mount --bind /dev/{name} {place}"
        else:
            yield f"mknod -m 666 {place} c {major} {minor}"
    for name, target in LINKS.items():
        yield f"ln -s {target} {shlex.quote(f'{directory}/{name}')}"


def _node(path: str, device: dict[str, Any]) -> str:
    numbers = f" {device['major']} {device['minor']}" if device["type"] != "p" else ""
    place = shlex.quote(path)
    made = f"mknod -m {device.get('fileMode', 0o666):o} {place} {device['type']}{numbers}"
    return f"mkdir -p {_above(path)}; {made}; chown {device.get('uid', 0)}:{device.get('gid', 0)} {place}"


def _above(path: str) -> str:
    return shlex.quote(posixpath.dirname(path))


def _bare(rest: Config) -> Config:
    """Return what nobody goes without: /proc, and the devices that are on the machine."""
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        *({"destination": place[:-1], "type": "bind", "source": place[:-1], "options": ["rbind"]} for place in SHARED),
    ]
    process = {"user": {"uid": 0, "gid": 0}, "env": _asked.usual()["process"]["env"], **rest["process"]}
    process["user"] = {"uid": 0, "gid": 0, **process["user"]}
    linux = {"namespaces": _asked.usual()["linux"]["namespaces"], **rest.get("linux", {})}
    return {**rest, "process": process, "linux": linux, "mounts": mounts + rest["mounts"]}


def _refusal(status: int, log: Path) -> str:
    """Return why the program was not started: the script's last words, or that chroot(8) could not start it."""
    with contextlib.suppress(OSError):
        if said := log.read_text(errors="replace").strip():
            return said.splitlines()[-1] if status == FAILED else ""
    if status in (FAILED, 126, 127):
        return f"chroot(8) has ended with status {status} before the program"
    return ""
