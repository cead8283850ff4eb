"""The outer sandbox: a cell of our own runtime that plays the host, so that no sabotage can reach the real one.

It has namespaces of its own of every kind and sees the whole machine's tree, but read-only; what it may write is a
tmpfs that goes with it. Its first process is the host role (`harness.host`), which takes one request per line and
gives one answer per line. Every run goes through an outer sandbox, a good one like a sabotaged one: the check and its
proof differ by the knob alone.

The sandbox is launched by a small process of its own, because a launcher is copied by clone3(2) and pytest is big.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from harness.errors import HarnessError, StartError
from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES
from harness.runtime.inspect import hierarchies
from harness.runtime.privileges import SETS
from harness.shapes import KIT

WORK = "/isoproof-work"  # where the host role may write
OWN = (
    "proc",
    "sys",
    "dev",
    "lost+found",
    KIT.strip("/"),
    WORK.strip("/"),
)  # what is not taken over from the machine's root
GRACE = 5.0  # seconds beyond the deadline of a request that the host role gets to answer
PATIENCE = 10.0  # seconds that a sandbox gets to end
CHECKOUT = Path(__file__).resolve().parent.parent


class Outer:
    """One outer sandbox; use it as a context, or close it."""

    def __init__(self, kit: Path) -> None:
        self._kit = kit
        self._directory = Path(tempfile.mkdtemp(prefix="isoproof-"))
        self._directory.chmod(0o755)
        self._buffer = b""
        self._log = tempfile.TemporaryFile()
        try:
            for name, target in _symlinks().items():
                (self._directory / name).symlink_to(target)
            self._process = _spawn(config(self._directory), self._directory, self._log)
        except BaseException:
            self._remove()
            raise

    def run(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Have the host role do one run and return its answer (see `harness.host`).

        `deadline` is in seconds. Raises HarnessError where there is no answer; the sandbox is of no use then.
        """
        assert self._process.stdin
        line = json.dumps(request | {"kit": str(self._kit), "deadline": deadline}).encode() + b"\n"
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._no_answer("has ended") from None
        answer = self._read_line(time.monotonic() + deadline + GRACE)
        result: dict[str, Any] = json.loads(answer)
        return result

    def _read_line(self, end: float) -> bytes:
        assert self._process.stdout
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise self._no_answer("did not answer in time")
            data = os.read(descriptor, 1 << 16)
            if not data:
                raise self._no_answer("has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _no_answer(self, how: str) -> HarnessError:
        """End the sandbox and return how it failed, with what it has said last."""
        self._end()
        self._log.seek(0)
        said = self._log.read().decode(errors="backslashreplace").strip().splitlines()
        self._log.close()
        return HarnessError(f"run in outer sandbox: it {how}" + (f"; it said: {said[-1]}" if said else ""))

    def close(self) -> None:
        """End the sandbox, and with it everything that was started in it; closing twice is no error."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait(PATIENCE)
        finally:
            self._process.stdout.close()
            self._remove()

    def _remove(self) -> None:
        """Remove the sandbox's root, which holds nothing but symlinks; never a tree, for a tree could be a mount."""
        with contextlib.suppress(OSError):
            for entry in self._directory.iterdir():
                if entry.is_symlink():
                    entry.unlink()
            self._directory.rmdir()

    def __enter__(self) -> Outer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def start() -> Outer:
    """Start an outer sandbox with the probe kit in it.

    Raises HarnessError where no sandbox or no kit can be made here.
    """
    from harness.rootfs import build_kit

    return Outer(build_kit())


def config(root: Path) -> Config:
    """Return the config of an outer sandbox; its root is a directory that holds nothing but the machine's symlinks."""
    uid, gid = os.geteuid(), os.getegid()
    mounts = [
        _bind(f"/{entry.name}")
        for entry in sorted(os.scandir("/"), key=lambda entry: entry.name)
        if entry.is_dir(follow_symlinks=False) and entry.name not in OWN
    ]
    mounts += [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "nodev", "noexec"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "nodev", "noexec"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "nodev", "noexec"],
        },
        {"destination": "/dev", "type": "tmpfs", "source": "dev", "options": ["nosuid", "mode=755"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "ptmxmode=0666"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "nodev", "noexec"]},
        {"destination": KIT, "type": "tmpfs", "source": "kit", "options": ["nosuid", "nodev", "mode=755"]},
        {"destination": WORK, "type": "tmpfs", "source": "work", "options": ["mode=755"]},
    ]
    namespaces = ["mount", "pid", "uts", "ipc", "network", "cgroup"]
    result: Config = {
        "ociVersion": "1.0.2",
        "root": {"path": str(root)},
        "hostname": f"outer-{os.getpid()}",
        "domainname": "outer.example",
        "process": {
            "args": command("harness.host"),
            "cwd": "/",
            "env": [
                *(f"{name}={value}" for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")),
                f"XDG_RUNTIME_DIR={WORK}",
            ],
            "user": {"uid": uid, "gid": gid},
            "capabilities": {kind: _own_capabilities(uid) for kind in SETS},
        },
        "mounts": mounts,
        "linux": {"namespaces": [{"type": name} for name in namespaces], "resources": _controllers(uid)},
    }
    if uid != 0:
        # The same ids inside as outside: the user stays ordinary, and what he starts in there does too.
        result["linux"]["namespaces"].append({"type": "user"})
        result["linux"]["uidMappings"] = [{"containerID": uid, "hostID": uid, "size": 1}]
        result["linux"]["gidMappings"] = [{"containerID": gid, "hostID": gid, "size": 1}]
    return result


def _controllers(uid: int) -> Config:
    """Return limits that limit nothing, for every controller that is to be had: so version 2 hands it down."""
    if uid != 0:
        return {}
    unlimited: Config = {"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"shares": 1024}}
    found = {}
    for name, limit in unlimited.items():
        with contextlib.suppress(StartError):
            if any(name in hierarchy.controllers for hierarchy in hierarchies({name})):
                found[name] = limit
    return found


def command(module: str) -> list[str]:
    """Return the command that runs `main` of one of our modules in an interpreter that loads nothing else."""
    text = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from {module} import main; main()"
    return [sys.executable, "-I", "-S", "-B", "-c", text]


def _spawn(config: Config, directory: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*command("harness.outer"), str(directory), str(reader)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        pass_fds=[reader],
        start_new_session=True,
    )
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(json.dumps(config).encode())
    return process


def _bind(path: str) -> Config:
    return {"destination": path, "type": "bind", "source": path, "options": ["rbind", "rro", "rprivate"]}


def _symlinks() -> dict[str, str]:
    return {entry.name: os.readlink(entry.path) for entry in os.scandir("/") if entry.is_symlink()}


def _own_capabilities(uid: int) -> list[str]:
    """Return the names of the capabilities that the sandbox can be given: root's own, or all in a user namespace."""
    if uid != 0:
        last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        return list(CAPABILITIES[: last + 1])
    status = Path("/proc/self/status").read_text()
    mask = int(status.partition("CapPrm:")[2].split()[0], 16)
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]


def main() -> None:
    """Be the small process that launches a sandbox and undoes everything when it ends or is told to end."""
    import ctypes

    from harness.runtime import launch
    from harness.runtime.config import read
    from harness.runtime.errors import IsoproofError
    from harness.runtime.syscalls import PR, libc

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    libc.prctl(PR.SET_PDEATHSIG.value, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
    directory, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    with os.fdopen(descriptor) as pipe:
        wanted = read(json.load(pipe))
    try:
        sys.exit(launch.run(wanted, directory, (0, 1, 2)))
    except IsoproofError as error:
        sys.exit(str(error))
