"""runc, the reference runtime of the Open Container Initiative."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from harness.backends import Config, Exit, Streams, cgroups_writable
from harness.runtime.cgroup import wanted
from harness.runtime.front import Front

REFUSED = 1  # the status of runc itself for a container that it did not start
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _executable() -> str | None:
    return shutil.which("runc", path=os.environ.get("PATH", "") + ":" + SEARCH)


def available() -> str | None:
    """Return why runc cannot be used here, or None."""
    return None if _executable() else "runc is not installed (Debian's package runc has it)"


def version() -> str:
    """Return the first line of `runc --version`."""
    output = subprocess.run([_executable() or "runc", "--version"], capture_output=True, text=True, check=False).stdout
    return output.partition("\n")[0].removeprefix("runc version ").strip()


def unsupported(config: Config) -> list[str]:
    """Return what of a config runc cannot express, or this user cannot have."""
    lacking = []
    if wanted(config) and not cgroups_writable(config):
        lacking.append("cgroups, which are not delegated to this user")
    if config.get("annotations", {}).get("isoproof.init") == "true":
        lacking.append("a PID 1 that reaps (it runs the program itself as PID 1)")
    if "landlock" in config["process"]:
        lacking.append("process.landlock (it passes over the field without a word)")
    if "kernel.pid_max" in config.get("linux", {}).get("sysctl", {}):
        lacking.append("the sysctl kernel.pid_max (it takes it for the host's, as it was before Linux 6.14)")
    if config.get("linux", {}).get("netDevices"):
        lacking.append("linux.netDevices (before 1.4 it passes over the field without a word)")
    if config.get("linux", {}).get("veth"):
        lacking.append("network interfaces (it leaves them to hooks; linux.veth is isoproof's own)")
    return lacking


def run(config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
    """Run a container by `runc run`, with a state folder of its own below the bundle."""
    (bundle / "config.json").write_text(json.dumps(config))
    state, log = bundle / "runc-state", bundle / "runc.log"
    name = f"isoproof-{os.getpid()}"
    command = [_executable() or "runc", "--root", str(state), "--log", str(log)]
    end = time.monotonic() + deadline
    with _terminal(config, io) as (streams, front):
        process = subprocess.Popen(
            [*command, "run", "--bundle", str(bundle), name],
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            # What else the launcher has, open descriptors and a session, is for runc to keep from the container.
            close_fds=False,
            process_group=0,
        )
        # It tells the end at once; wait with a timeout looks, naps and looks again.
        pidfd = os.pidfd_open(process.pid)
        try:
            if front:
                front.copy(pidfd, end)
            ended = select.select([pidfd], [], [], max(0.0, end - time.monotonic()))[0]
            status = process.wait() if ended else 124
        finally:
            os.close(pidfd)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            subprocess.run([*command, "delete", "--force", name], capture_output=True, check=False)
    return Exit(status, _complaint(log) if status == REFUSED else "")


@contextlib.contextmanager
def _terminal(config: Config, io: Streams) -> Iterator[tuple[Streams, Front | None]]:
    """Give runc a terminal where the container is to have one: it copies between the two, we between ours and io."""
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


def _complaint(log: Path) -> str:
    """Return what runc has logged of its failure; nothing, if the status was the program's own."""
    with contextlib.suppress(OSError):
        for line in reversed(log.read_text(errors="replace").splitlines()):
            if "level=error" in line:
                return line.partition("msg=")[2].strip('"')
    return ""
