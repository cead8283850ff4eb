"""containerd, by a daemon of our own in each sandbox and its client ctr, which takes a config as it is."""

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams, _command, _daemon, load
from harness.backends._asked import beyond_default
from harness.backends._engine import REMOVAL, shared_out, watched
from harness.backends._oci import laid_over
from harness.errors import HarnessError

REFUSED = 1  # the status of ctr for a container that was not started; a program can end with it, too
COMPLAINT = "ctr: "
PATIENCE = 5.0  # seconds that an answer may take
CGROUP = "/default/{}"  # where ctr has the cgroup of a container, by its name
UNUSED = ("io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt")  # plugins that are for others, or make /opt


def make(options: Options) -> Backend:
    """Return the backend; a path would be that of ctr."""
    options.only()
    return Containerd(options)


class Containerd(Backend):
    """The client `ctr run --config`; beneath is runc, so that it can express what that can."""

    def __init__(self, options: Options) -> None:
        self.executable = options.executable or "ctr"
        self.shipped = options.shipped
        self.runc = load("runc")

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        if os.geteuid() != 0:
            return "a daemon of containerd needs root"
        programs = {"containerd": "containerd", self.executable: "containerd", "runc": "runc"}
        return next(filter(None, (_command.missing(*program) for program in programs.items())), None)

    def version(self) -> str:
        """Return the version of the daemon."""
        return _command.version_of("containerd", "--version")

    def unsupported(self, config: Config) -> list[str]:
        """Return what of a config runc cannot express."""
        return self.runc.unsupported(config)

    def serve(self, directory: Path) -> None:
        """Start the daemon."""
        _daemon.make_writable("/run")  # its shims have their sockets there, wherever it has its own
        self.client = [_command.found(self.executable) or self.executable, f"--address={directory}/socket"]
        file = directory / "config.toml"
        file.write_text(_settings(directory))
        daemon = _daemon.Daemon(["containerd", f"--config={file}"], directory)
        daemon.wait(lambda: (directory / "socket").exists() and self._ask("version") is not None)

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Run a container from its config; the tree is its root as it is."""
        end = time.monotonic() + shared_out(deadline)
        name = f"isoproof-{os.getpid()}"
        if self.shipped:
            spec = self._ask("oci", "spec")
            if spec is None:
                raise HarnessError("ctr oci spec: it fails, or has not ended in time")
            own = json.loads(spec)
            _make_points(Path(config["root"]["path"]), own)
            asked = beyond_default(config)
            config = laid_over(asked, own)
            # What it writes there is no container's own without a name.
            config["linux"]["cgroupsPath"] = asked.get("linux", {}).get("cgroupsPath", CGROUP.format(name))
        file = bundle / "config.json"
        file.write_text(json.dumps(config))
        words = [*self.client, "run", "--rm", f"--config={file}", f"--fifo-dir={bundle}/streams"]
        words += [*(["--tty"] if config["process"].get("terminal") else []), name]
        removed = False
        try:
            # When it hears of the end, ctr closes what it copies from, read or not; one thread has read it by then.
            status, said = watched(config, words, io, end - time.monotonic(), os.environ | {"GOMAXPROCS": "1"})
            complaints = [line for line in said.splitlines() if line.startswith(COMPLAINT)]
            refused = complaints[-1] if complaints and status == REFUSED else ""
            removed = status != _command.LATE and not refused
        finally:
            if not removed:
                self._ask("tasks", "rm", "--force", name, patience=REMOVAL)
                self._ask("containers", "rm", name, patience=REMOVAL)
        return Exit(status, refused, tuple(words))

    def _ask(self, *words: str, patience: float = PATIENCE) -> str | None:
        """Return what ctr says to other words, or None where it fails or does not end in time."""
        with contextlib.suppress(subprocess.SubprocessError):
            done = subprocess.run([*self.client, *words], capture_output=True, timeout=patience, check=True, text=True)
            return done.stdout
        return None


def _make_points(root: Path, own: Config) -> None:
    """Make what an image has for the engine's own mounts, and root of a user namespace could not make in ours."""
    for mount in own["mounts"]:
        point = Path(mount["destination"].lstrip("/"))
        if len(point.parts) == 1 and not os.path.lexists(root / point):
            (root / point).mkdir()
            (root / point).chmod(0o755)


def _settings(directory: Path) -> str:
    """Return the daemon's configuration: version 2, which all daemons since 1.3 take."""
    return f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = {json.dumps(UNUSED)}
[grpc]
address = "{directory}/socket"
[ttrpc]
address = "{directory}/socket.ttrpc"
"""
