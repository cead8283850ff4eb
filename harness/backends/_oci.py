"""Any runtime with the command line of runc, which the runtime-spec's authors recommend: `run --bundle DIR NAME`.

As asked it gets our config as it is. As shipped it writes a config by its own command `spec`, as its users begin, and
what a scenario asks for beyond our default is laid over that.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.backends import Config, Exit, Streams, _asked, _command, undelegated
from harness.errors import HarnessError
from harness.runtime.config import namespaces
from harness.runtime.front import Front

# What runtimes end with when they could not start a container; if they have logged why, they have refused it. One that
# is killed, or crashes, has refused nothing: a check that demands a refusal must not pass by that.
REFUSED = (1, 125, 126, 127, 128, 255)
BROKEN = 125  # the status of a run that came to nothing before the runtime was asked
REMOVAL = 10.0  # seconds that a runtime may take to remove what it has made
LOGGED = 64 << 10  # bytes at the end of a log in which the complaint is looked for


class Oci(_command.Command):
    """A runtime that takes a bundle and is asked for the container in the config's own words."""

    def unsupported(self, config: Config) -> list[str]:
        """Return what no such runtime can express, or this one says that it does not know, or this user cannot have."""
        lacking = undelegated(config)
        linux = config.get("linux", {})
        if config.get("annotations", {}).get("isoproof.init") == "true":
            lacking.append("a PID 1 that reaps (it runs the program itself as PID 1)")
        if linux.get("veth"):
            lacking.append("network interfaces (it leaves them to hooks; linux.veth is isoproof's own)")
        if linux.get("devices") and os.geteuid() != 0:
            lacking.append("linux.devices (without root a node can only be the host's, at the same path)")
        if linux.get("netDevices") and not self.features.get("linux", {}).get("netDevices", {}).get("enabled"):
            lacking.append("linux.netDevices (without a word that it knows the field it passes over it)")
        if "landlock" in config["process"]:
            lacking.append("process.landlock (the runtime-spec has no such field; it is isoproof's own)")
        known = self.features.get("linux", {}).get("namespaces")
        for entry in linux.get("namespaces", []):
            if known and entry["type"] not in known:
                lacking.append(f"a namespace of type {entry['type']} (it says that it knows {', '.join(known)})")
        return lacking

    @functools.cached_property
    def features(self) -> dict[str, Any]:
        """What it says that it can do (runtime-spec features.md); nothing where it has no such command yet."""
        try:
            said = json.loads(_command.answer(self.program, "features"))
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def around(self) -> Sequence[str]:
        """Return the words of a command in which it has to be run on this machine."""
        return ()

    def flags(self, config: Config) -> Sequence[str]:
        """Return its own options, in front of its command."""
        return ()

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container by the command `run`, with a state folder of its own below the bundle."""
        log = bundle / "runtime.log"
        log.touch(0o600)  # by the caller, as podman does; it tells of the host
        name = f"isoproof-{os.getpid()}"
        program = [*self.around(), _command.path_to(self.program)]
        command = [*program, "--root", str(bundle / "state"), "--log", str(log), "--log-format", "json"]
        command += self.flags(config)
        words = [*command, "run", "--bundle", str(bundle), name]
        try:
            if self.shipped:
                config = laid_over(_asked.beyond_default(config), own_config(program, bundle, io, deadline))
            (bundle / "config.json").write_text(json.dumps(config))
            with terminal(config, io) as (streams, front):
                status = _command.run(words, streams, deadline, attend=front.copy if front else None)
            if status == _command.LATE:
                raise HarnessError(f"run {self.program}: it has not ended in {deadline:g} s, and was killed")
        except OSError as error:
            os.write(io[2], f"start {error.filename or self.program}: {error.strerror}\n".encode())
            return Exit(BROKEN, command=tuple(words))
        finally:
            self.remove(command, name)
        return Exit(status, complaint(log) if status in REFUSED else "", tuple(words))

    def remove(self, command: Sequence[str], name: str) -> None:
        """Have it remove the container, of which nothing may be left whatever has happened."""
        _command.quietly([*command, "delete", "--force", name], REMOVAL)


def own_config(program: Sequence[str], bundle: Path, io: Streams, deadline: float) -> Config:
    """Return the config that a runtime writes for those who begin; what it says is written to its standard error."""
    folder = bundle / "shipped"
    folder.mkdir(0o700)
    words = [*program, "spec", *([] if os.geteuid() == 0 else ["--rootless"])]
    with open(os.devnull, "rb") as nothing:
        _command.run(words, (nothing.fileno(), io[2], io[2]), deadline, directory=folder)
    try:
        config: Config = json.loads((folder / "config.json").read_bytes())
    except ValueError:
        raise OSError(0, "its command `spec` has written no JSON", program[-1]) from None
    return config


def laid_over(rest: Config, own: Config) -> Config:
    """Return a runtime's own config, `own`, with what is asked for besides laid over it."""
    result: Config = _merged(own, rest)
    if kept := _namespaces(own, rest):
        result["linux"]["namespaces"] = kept
    if "uts" not in namespaces(result):
        result.pop("hostname", None)  # which would be the host's
    points = {mount["destination"] for mount in rest["mounts"]}
    result["mounts"] = [mount for mount in own.get("mounts", []) if mount["destination"] not in points] + rest["mounts"]
    # The example that they write is one to be typed at.
    result["process"]["terminal"] = rest["process"].get("terminal", False)
    return result


def complaint(log: Path) -> str:
    """Return the error that was logged last, as JSON or in the words of runc's text format; nothing without one."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOGGED))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next(filter(None, map(_error, reversed(lines))), "")


def _error(line: str) -> str:
    """Return the message of a line of a log if it is about an error."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line.partition("msg=")[2].strip('"') if "level=error" in line else ""
    if not isinstance(entry, dict) or str(entry.get("level")).lower() not in ("error", "fatal"):
        return ""
    fields = entry.get("fields")  # where youki has it
    return str(entry.get("msg") or (fields.get("message") if isinstance(fields, dict) else "") or line)


def _namespaces(own: Config, rest: Config) -> list[Config]:
    """Return a runtime's own namespaces, without those that ours has left out and with those that it has besides."""
    asked = rest.get("linux", {}).get("namespaces")
    found: list[Config] = own.get("linux", {}).get("namespaces", [])
    if asked is None:
        return found
    kinds = [entry["type"] for entry in asked]
    usual = [entry["type"] for entry in _asked.usual()["linux"]["namespaces"]]
    kept = [entry for entry in found if entry["type"] in kinds]
    return kept + [entry for entry in asked if entry["type"] not in usual or entry.get("path")]


def _merged(own: Any, rest: Any) -> Any:
    if not isinstance(own, dict) or not isinstance(rest, dict):
        return rest
    return {**own, **{key: _merged(own.get(key), value) for key, value in rest.items()}}


@contextlib.contextmanager
def terminal(config: Config, io: Streams) -> Iterator[tuple[Streams, Front | None]]:
    """Give it a terminal where the container is to have one: it copies between the two, we between ours and io."""
    if not config["process"].get("terminal"):
        yield io, None
        return
    front = Front(io)
    master, slave = os.openpty()
    try:
        front.meet(0, [master])
        yield (slave, slave, slave), front
    finally:
        front.close()
        os.close(master)
        os.close(slave)
