"""Any runtime with the command line of runc, which the runtime-spec's authors recommend: `run --bundle DIR NAME`."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Backend, Config, Exit, Streams, _command, cgroups_writable
from harness.runtime.cgroup import wanted
from harness.runtime.front import Front

REFUSED = 1  # the status of the runtime itself for a container that it did not start


class Oci(Backend):
    """A runtime that takes a bundle and is asked for the container in the config's own words."""

    def __init__(self, program: str, remedy: str, shipped: bool) -> None:
        self.program = program
        self.remedy = remedy
        self.shipped = shipped
        self.options: tuple[str, ...] = ()  # of the command itself, in front of `run`

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        return None if _command.found(self.program) else f"{self.program} is not installed ({self.remedy})"

    def version(self) -> str:
        """Return the version that it says it is."""
        return _command.version_of(self.program, "--version")

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config no such runtime can express, or this user cannot have."""
        lacking = []
        if wanted(config) and not cgroups_writable(config):
            lacking.append("cgroups, which are not delegated to this user")
        if config.get("annotations", {}).get("isoproof.init") == "true":
            lacking.append("a PID 1 that reaps (it runs the program itself as PID 1)")
        if config.get("linux", {}).get("veth"):
            lacking.append("network interfaces (it leaves them to hooks; linux.veth is isoproof's own)")
        return lacking

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container by the command `run`, with a state folder of its own below the bundle."""
        (bundle / "config.json").write_text(json.dumps(config))
        log = bundle / "runtime.log"
        name = f"isoproof-{os.getpid()}"
        executable = _command.found(self.program) or self.program
        command = [executable, "--root", str(bundle / "state"), "--log", str(log), *self.options]
        words = [*command, "run", "--bundle", str(bundle), name]
        try:
            with _terminal(config, io) as (streams, front):
                status = _command.run(words, streams, deadline, attend=front.copy if front else None)
        finally:
            subprocess.run([*command, "delete", "--force", name], capture_output=True, check=False)
        return Exit(status, complaint(log) if status == REFUSED else "", tuple(words))


@contextlib.contextmanager
def _terminal(config: Config, io: Streams) -> Iterator[tuple[Streams, Front | None]]:
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


def complaint(log: Path) -> str:
    """Return what has been logged of a failure; nothing, if the status was the program's own."""
    with contextlib.suppress(OSError):
        for line in reversed(log.read_text(errors="replace").splitlines()):
            if "level=error" in line:
                return line.partition("msg=")[2].strip('"')
    return ""
