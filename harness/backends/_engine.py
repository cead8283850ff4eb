"""The command line that docker and podman share: a config in the words of `run`, and what these cannot say."""

import contextlib
import json
import os
import termios
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.backends import Config, Exit, Options, Streams, _command, undelegated
from harness.backends._asked import beyond_default, lacking, refused_sysctls
from harness.backends._oci import terminal
from harness.runtime.config import namespaces
from harness.runtime.spec import example
from harness.shapes import KIT

REFUSALS = (125, 126, 127)  # of an engine, for a container that it did not start; a program can end with them, too
SAID = 8 << 10  # bytes of what was said last that are kept
LINGER = 1.0  # seconds that the end of the output may come after that of the client
REMOVAL = 5.0  # seconds that removing a container may take

# What both can be asked for; the names are those of `_asked.features`.
EXPRESSED = frozenset(
    {
        "hostname",
        "annotations.isoproof.init",
        "mounts.bind",
        "mounts.cgroup",
        "mounts.tmpfs",
        "process.apparmorProfile",
        "process.capabilities",
        "process.consoleSize.height",  # which is the terminal's that the client has
        "process.consoleSize.width",
        "process.noNewPrivileges",
        "process.oomScoreAdj",
        "process.rlimits",
        "process.terminal",
        "process.user.additionalGids",
        "root.readonly",
        "linux.gidMappings",  # parts of a user namespace, which is told of by its own name
        "linux.maskedPaths",
        "linux.readonlyPaths",
        "linux.resources.blockIO.weight",
        "linux.resources.cpu.cpus",
        "linux.resources.cpu.mems",
        "linux.resources.cpu.period",
        "linux.resources.cpu.quota",
        "linux.resources.cpu.shares",
        "linux.resources.devices",
        "linux.resources.memory.limit",
        "linux.resources.memory.reservation",
        "linux.resources.memory.swap",
        "linux.resources.memory.swappiness",
        "linux.resources.pids.limit",
        "linux.seccomp",
        "linux.sysctl",
        "linux.uidMappings",
        *(f"linux.namespaces.{kind}" for kind in ("cgroup", "ipc", "mount", "network", "pid", "uts")),
    }
)

# Where a value of the config stands, and the option that takes it as it is.
VALUES = {
    ("hostname",): "hostname",
    ("domainname",): "domainname",
    ("process", "oomScoreAdj"): "oom-score-adj",
    ("process", "user", "umask"): "umask",
    ("linux", "resources", "blockIO", "weight"): "blkio-weight",
    ("linux", "resources", "cpu", "cpus"): "cpuset-cpus",
    ("linux", "resources", "cpu", "mems"): "cpuset-mems",
    ("linux", "resources", "cpu", "period"): "cpu-period",
    ("linux", "resources", "cpu", "quota"): "cpu-quota",
    ("linux", "resources", "cpu", "shares"): "cpu-shares",
    ("linux", "resources", "memory", "limit"): "memory",
    ("linux", "resources", "memory", "reservation"): "memory-reservation",
    ("linux", "resources", "memory", "swap"): "memory-swap",
    ("linux", "resources", "memory", "swappiness"): "memory-swappiness",
    ("linux", "resources", "pids", "limit"): "pids-limit",
}
# The option by which a container has no namespace of a kind.
SHARED = {"pid": "pid", "network": "network", "ipc": "ipc", "uts": "uts", "cgroup": "cgroupns"}
DENIED = ("nosuid", "nodev", "noexec")  # by default, of a tmpfs
PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")


class Engine(_command.Command):
    """What docker and podman have in common; `program` is the client."""

    expressed: Iterable[str] = EXPRESSED
    bind_options: Sequence[str] = ("bind", "rbind", "ro", "rw", *PROPAGATIONS)
    complaint: str  # what the engine's own lines on standard error begin with

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.seccomp = options.values.get("seccomp", "")

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config its options cannot express, or this user cannot have."""
        found = lacking(config, self.expressed) + undelegated(config)
        process, linux = config["process"], config["linux"]
        capabilities = process.get("capabilities", {})
        if len({frozenset(capabilities.get(kind, [])) for kind in ("bounding", "effective", "permitted")}) > 1:
            found.append("sets of capabilities that differ")
        if any(limit["type"] == "RLIMIT_AS" for limit in process.get("rlimits", [])):
            found.append("RLIMIT_AS")
        rules = linux.get("resources", {}).get("devices", [])
        if any(rule["allow"] for rule in rules[:1]) or not all(rule["allow"] for rule in rules[1:]):
            found.append("other rules of devices than what is allowed")
        if "mount" not in namespaces(config):
            found.append("a container without a mount namespace")
        return found + refused_sysctls(config) + self._unsupported_mounts(config["mounts"])

    def words(self, config: Config, bundle: Path) -> list[str]:
        """Return the options of `run` for a config; its root, and what keeps the container apart, are not in it."""
        asked = beyond_default(config) if self.shipped else config
        process, linux = asked["process"], asked.get("linux", {})
        words = ["--interactive", *(["--tty"] if process.get("terminal") else [])]
        words += self._namespaces([entry["type"] for entry in config["linux"]["namespaces"]])
        for path, option in VALUES.items():
            value = _at(asked, path)
            words += [f"--{option}={value}"] if value is not None else []
        words += [f"--env={variable}" for variable in process.get("env", [])]
        words += [f"--workdir={process['cwd']}"] if process.get("cwd", "/") != "/" else []
        words += _user(process.get("user", {}))
        words += self._capabilities(config)
        words += [f"--ulimit={_ulimit(limit)}" for limit in process.get("rlimits", [])]
        words += ["--security-opt=no-new-privileges"] if process.get("noNewPrivileges") else []
        profile = process.get("apparmorProfile")
        words += [f"--security-opt=apparmor={profile}"] if profile else []
        words += self._filter(linux.get("seccomp"), bundle)
        words += self._covers(linux)
        words += ["--read-only"] if asked["root"].get("readonly") else []
        words += ["--init"] if asked.get("annotations", {}).get("isoproof.init") == "true" else []
        words += [f"--device-cgroup-rule={_rule(rule)}" for rule in linux.get("resources", {}).get("devices", [])[1:]]
        words += [f"--sysctl={name}={value}" for name, value in linux.get("sysctl", {}).items()]
        for mount in asked["mounts"]:
            words += self._mount(mount, [word for word in mount.get("options", []) if word not in ("bind", "rbind")])
        return words

    def _namespaces(self, kinds: list[str]) -> list[str]:
        """Return what takes the host's namespaces where the container is to have none of its own."""
        return [f"--{option}=host" for kind, option in SHARED.items() if kind not in kinds]

    def _capabilities(self, config: Config) -> list[str]:
        """Return what takes all away and gives what is asked for; as shipped, only what is to be there besides."""
        asked = config["process"].get("capabilities", {}).get("bounding", [])
        usual = example(0, 0)["process"]["capabilities"]["bounding"]
        if self.shipped and set(usual) <= set(asked):
            return [f"--cap-add={name}" for name in asked if name not in usual]
        return ["--cap-drop=ALL", *(f"--cap-add={name}" for name in asked)]

    def _filter(self, asked: Config | None, bundle: Path) -> list[str]:
        """Return what sets the filter of system calls; as shipped it is the engine's, also where one is asked for."""
        if self.seccomp:
            return [f"--security-opt=seccomp={self.seccomp}"]
        if self.shipped:
            return []
        if asked is None:
            return ["--security-opt=seccomp=unconfined"]
        profile = bundle / "seccomp.json"
        profile.write_text(json.dumps(asked))
        return [f"--security-opt=seccomp={profile}"]

    def _covers(self, linux: Config) -> list[str]:
        """Return what changes which paths are masked and read-only."""
        raise NotImplementedError

    def _mount(self, mount: Config, options: list[str]) -> list[str]:
        """Return what mounts something; what every engine mounts by itself needs no words, but for its size."""
        kind, destination = mount.get("type", "none"), mount["destination"]
        if destination == "/dev/shm":
            return [f"--shm-size={word.removeprefix('size=')}" for word in options if word.startswith("size=")]
        if kind == "cgroup" or destination in _ordinary():
            return []
        if kind == "tmpfs":
            # What is not said is denied, and what is not denied has been asked for.
            options += [word.removeprefix("no") for word in DENIED if word not in options]
            return [f"--tmpfs={destination}:{','.join(options)}"]
        return self._bind(mount["source"], destination, options)

    def _bind(self, source: str, destination: str, options: list[str]) -> list[str]:
        """Return what binds a file or directory of the host's."""
        raise NotImplementedError

    def _unsupported_mounts(self, mounts: list[Config]) -> list[str]:
        """Return which mounts it has not, or has in its own way only."""
        ordinary = _ordinary()
        present = {mount["destination"] for mount in mounts}
        found = [f"a container without {destination}" for destination in ordinary if destination not in present]
        for mount in mounts:
            destination, options = mount["destination"], set(mount.get("options", []))
            if destination in ordinary:
                size = {word for word in options if destination == "/dev/shm" and word.startswith("size=")}
                if beyond := sorted(options - size - ordinary[destination]):
                    found.append(f"{destination} with {', '.join(beyond)}")
            elif mount.get("type") == "cgroup":
                if destination != "/sys/fs/cgroup" or "ro" not in options:
                    found.append("cgroups that are mounted elsewhere than at /sys/fs/cgroup, or to be written to")
            elif {"bind", "rbind"} & options and destination != KIT:
                found += [f"a bind mount with {word}" for word in sorted(options) if word not in self.bind_options]
        return found

    def _exit(self, status: int, said: str, words: Sequence[str]) -> Exit:
        """Return how a container ended: refused, where the engine has complained and the status is one of its own."""
        lines = said.strip().splitlines()
        complaints = [line for line in lines if line.startswith(self.complaint)] if status in REFUSALS else []
        if status == REFUSALS[0] and not complaints:
            complaints = lines[:1]  # the client's own, for words that it does not take
        return Exit(status, complaints[-1] if complaints else "", tuple(words))


def shared_out(deadline: float) -> float:
    """Return how much of a deadline a container gets: it has to be removed within it, too."""
    return deadline - min(REMOVAL, deadline / 3)


def watched(
    config: Config, words: Sequence[str], io: Streams, deadline: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a client to its end; return the status, and what was said last on standard error, which is handed on.

    There a client says why a container was not started, and there it copies what the container says.
    """
    kept = bytearray()
    ours, theirs = os.pipe()
    listener = threading.Thread(target=hand_on, args=(ours, io[2], kept), daemon=True)
    listener.start()
    try:
        with terminal(config, io) as (streams, front):
            if front and (size := config["process"].get("consoleSize")):
                termios.tcsetwinsize(streams[0], (size["height"], size["width"]))
            attend = front.copy if front else None
            status = _command.run(words, (*streams[:2], theirs), deadline, environment, attend)
    finally:
        os.close(theirs)
        listener.join(LINGER)
    return status, kept.decode(errors="backslashreplace")


def hand_on(source: int, sink: int, kept: bytearray) -> None:
    """Hand on what there is until nobody says anything more, keep the end of it, and close the source."""
    with contextlib.suppress(OSError):
        while data := os.read(source, 1 << 16):
            kept += data
            del kept[:-SAID]
            while data:
                data = data[os.write(sink, data) :]
    os.close(source)


def _ordinary() -> dict[str, set[str]]:
    """Return where every container of ours has something mounted, and with which options."""
    return {mount["destination"]: set(mount.get("options", [])) for mount in example(0, 0)["mounts"]}


def _at(config: Any, path: Iterable[str]) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _user(user: dict[str, Any]) -> list[str]:
    words = [f"--user={user.get('uid', 0)}:{user.get('gid', 0)}"] if {"uid", "gid"} & set(user) else []
    return words + [f"--group-add={gid}" for gid in user.get("additionalGids", [])]


def _ulimit(limit: dict[str, Any]) -> str:
    return f"{limit['type'].removeprefix('RLIMIT_').lower()}={limit['soft']}:{limit['hard']}"


def _rule(rule: dict[str, Any]) -> str:
    major, minor = rule.get("major", "*"), rule.get("minor", "*")
    return f"{rule.get('type', 'a')} {major}:{minor} {rule.get('access', 'rwm')}"
