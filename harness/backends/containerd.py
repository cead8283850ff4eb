"""containerd, by a daemon of our own in each sandbox and its client ctr, which takes a config as it is."""

import contextlib
import fcntl
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

from harness.backends import Backend, Config, Exit, Options, Streams, _command, _daemon, load
from harness.backends._asked import beyond_default
from harness.backends._engine import LINGER, REMOVAL, hand_on, shared_out, watched
from harness.backends._oci import laid_over
from harness.errors import HarnessError

REFUSED = 1  # the status of ctr for a container that was not started; a program can end with it, too
COMPLAINT = "ctr: "
PATIENCE = 5.0  # seconds that an answer may take
PAUSE = 0.002  # seconds between two looks for FIFOs, of which a container needs a hundred times that to end
CAPACITY = 1 << 20  # bytes of a FIFO: what ctr leaves must fit, or the shim cannot write it
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
        terminal = config["process"].get("terminal", False)
        words = [*self.client, "run", "--rm", f"--config={file}", f"--fifo-dir={bundle}/streams"]
        words += [*(["--tty"] if terminal else []), name]
        outputs = {"stdout": io[1]} if terminal else {"stdout": io[1], "stderr": io[2]}
        removed = False
        with _Rest(bundle / "streams", outputs) as rest:
            try:
                status, said = watched(config, words, io, end - time.monotonic())
                complaints = [line for line in said.splitlines() if line.startswith(COMPLAINT)]
                refused = complaints[-1] if complaints and status == REFUSED else ""
                removed = status != _command.LATE and not refused
            finally:
                if not removed:
                    self._ask("tasks", "rm", "--force", name, patience=REMOVAL)
                    self._ask("containers", "rm", name, patience=REMOVAL)
        if removed and rest.missed:
            raise HarnessError(f"ctr run: it has ended before its {' and '.join(rest.missed)} could be held open")
        return Exit(status, refused, tuple(words))

    def _ask(self, *words: str, patience: float = PATIENCE) -> str | None:
        """Return what ctr says to other words, or None where it fails or does not end in time."""
        with contextlib.suppress(subprocess.SubprocessError):
            done = subprocess.run([*self.client, *words], capture_output=True, timeout=patience, check=True, text=True)
            return done.stdout
        return None


class _Rest:
    """What ctr leaves unread of a container's output, which is handed on when ctr has ended.

    The shim copies the output to FIFOs, and ctr copies it from there. Some versions of ctr, 1.6.20 for one, close them
    when they hear of the container's end, read or not (containerd's pull request 8643); a thread of ctr that is held up
    in between is enough for a loss. What is in a FIFO stays as long as anybody has it open to read: so it is opened
    here, too, and read when ctr cannot any more.
    """

    def __init__(self, directory: Path, outputs: dict[str, int]) -> None:
        self._directory = directory
        self._outputs = outputs
        self._held: dict[str, int] = {}
        self._ended = threading.Event()
        self._holder = threading.Thread(target=self._hold, daemon=True)

    @property
    def missed(self) -> list[str]:
        """The names of the outputs whose FIFOs were not found in time."""
        return [name for name in self._outputs if name not in self._held]

    def __enter__(self) -> Self:
        self._holder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._holder.join()
        # Each ends with the last who could write to it, and that is the shim.
        copies = [
            threading.Thread(target=hand_on, args=(source, self._outputs[name], bytearray()), daemon=True)
            for name, source in self._held.items()
        ]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join(LINGER)

    def _hold(self) -> None:
        """Open the FIFOs as soon as ctr has made them, in a directory that bears a name of its choice."""
        while self.missed and not self._ended.wait(PAUSE):
            for name in self.missed:
                with contextlib.suppress(FileNotFoundError):
                    for fifo in self._directory.glob(f"*/*-{name}"):
                        source = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # which does not wait for a writer
                        self._held[name] = source
                        os.set_blocking(source, True)
                        with contextlib.suppress(PermissionError):  # the machine may allow less
                            fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, CAPACITY)


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
