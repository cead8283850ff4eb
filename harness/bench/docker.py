"""The contender docker: by the daemon that is there, else by one of our own that is gone in the end."""

import contextlib
import io
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from harness.bench import leavings, orphans
from harness.bench.commands import last_words
from harness.bench.contenders import NAME, Command, Place, Way, found, said, version_of
from harness.bench.series import Round
from harness.errors import HarnessError

READY = 20.0  # seconds that a daemon may take to answer
END = 20.0  # seconds that it may take to end
PAUSE = 0.05  # seconds between two questions
DAEMONS = ("dockerd", "containerd")
IMAGE = NAME
LEAVINGS = (
    "/etc/docker/key.json",
    "/etc/docker",
    "/run/docker/plugins",
    "/run/docker",
    "/run/containerd/s",
    "/run/containerd",
)


class Docker(Command):
    """docker run, whose CPU time is that of its daemons, too."""

    def __init__(self, place: Place) -> None:
        self._client = ["docker"]
        self._server = ""
        self._daemons: list[int] = []
        super().__init__(
            place=place,
            name="docker",
            what="docker run --rm, without a network; memory is the client's alone, CPU time its daemons', too",
            package="Debian's package docker.io",
            ways=[Way(["docker", "run"])],
        )

    def absent(self) -> str | None:
        """Return that there is no client, or neither a daemon nor the means to have one."""
        if missing := super().absent():
            return missing
        if not said(["docker", "--version"]):
            return "docker --version fails or does not end"
        self._server = self._ask()
        if self._server:
            return None
        if os.geteuid() != 0:
            return "no daemon answers this user"
        return (
            None if found("dockerd") else "no daemon answers, and dockerd is not installed (Debian's package docker.io)"
        )

    def version(self) -> str:
        """Return the versions of client and daemon."""
        return f"{version_of('docker', '--version')}, daemon {self._server or version_of('dockerd', '--version')}"

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Have a daemon, and the image."""
        with contextlib.ExitStack() as stack:
            if self._server:
                self._words += ", but not its shims'"
                self._daemons = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _name(entry) in DAEMONS]
            else:
                stack.enter_context(leavings.removed(["docker"], LEAVINGS))
                daemon = stack.enter_context(self._daemon())
                # And not what else of these names is on the machine.
                self._daemons = [daemon, *orphans.children(daemon)]
                self._words += "; by a daemon of our own, without bridge and firewall"
            self._import()
            stack.callback(said, [*self._client, "rmi", "--force", IMAGE])
            self.ways = [Way([*self._client, "run", "--rm", "--network=none", f"--name={NAME}", IMAGE, "/clock"])]
            self.removal = [*self._client, "rm", "--force", NAME]
            stack.enter_context(super().ready())
            yield

    def start(self) -> Round:
        """Run the command once."""
        used = sum(map(_cpu, self._daemons))
        seen = super().start()
        return replace(seen, cpu=(seen.cpu or 0) + sum(map(_cpu, self._daemons)) - used)

    def _ask(self) -> str:
        return said([*self._client, "version", "--format", "{{.Server.Version}}"]).strip()

    def _import(self) -> None:
        """Make an image with nothing but the clock."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(self.place.root("docker"), ".")
        words = [found("docker") or "docker", *self._client[1:], "import", "-", IMAGE]
        try:
            subprocess.run(words, input=archive.getvalue(), capture_output=True, timeout=READY, check=True)
        except subprocess.CalledProcessError as error:
            raise HarnessError(f"docker import: {last_words(error.stderr)}") from None
        except subprocess.TimeoutExpired:
            raise HarnessError("docker import: it has not ended in time") from None

    @contextlib.contextmanager
    def _daemon(self) -> Iterator[int]:
        """Have a daemon of our own, which touches no bridge and no firewall; it is its process id."""
        directory = self.place.directory / "dockerd"
        directory.mkdir()
        host = f"unix://{directory}/socket"
        options = ["--host", host, "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec"]
        options += ["--pidfile", f"{directory}/pid", "--exec-opt", "native.cgroupdriver=cgroupfs"]
        options += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        known = orphans.children()
        log = directory / "log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*_with_us(), found("dockerd") or "dockerd", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"TMPDIR": str(directory)},  # where containerd says what it did if it is killed
                start_new_session=True,
            )
        self._client = ["docker", "--host", host]
        try:
            end = time.monotonic() + READY
            while not self._ask():
                if process.poll() is not None:
                    raise HarnessError(f"dockerd: {last_words(log.read_bytes())}")
                if time.monotonic() > end:
                    raise HarnessError("dockerd: it does not answer")
                time.sleep(PAUSE)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END)
            process.kill()
            process.wait()
            orphans.end_all(known)


def _with_us() -> list[str]:
    """Return what has a daemon end when this process is killed."""
    return ["setpriv", "--pdeathsig", "TERM"] if found("setpriv") else []


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:  # it has ended meanwhile
        return ""


def _cpu(pid: int) -> int:
    """Return the CPU time that a process has used, in nanoseconds: clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:
        return 0
