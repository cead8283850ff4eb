"""The outer sandbox: a cell of our own runtime that plays the host, so that no sabotage can reach the real one.

It has namespaces of its own of every kind and sees the whole machine's tree, but read-only; what it may write is a
tmpfs that goes with it. Its first process is the host role (`harness.host`), which takes one request per line and
gives one answer per line. Every run goes through an outer sandbox, a good one like a sabotaged one: the check and its
proof differ by the knob alone.

The sandbox is launched by a small process of its own, because a launcher is copied by clone3(2) and pytest is big; and
that is a copy of another (`harness.zygote`), because an interpreter takes long to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness.errors import HarnessError, StartError
from harness.places import PACKAGE
from harness.rootfs import build_kit
from harness.runtime.config import Config
from harness.runtime.fields import CAPABILITIES
from harness.runtime.inspect import hierarchies
from harness.runtime.privileges import SETS
from harness.shapes import KIT

if TYPE_CHECKING:
    from harness.image import Image

WORK = "/isoproof-work"  # where the host role may write
# What is not taken over from the machine's root.
OWN = ("proc", "sys", "dev", "lost+found", KIT.strip("/"), WORK.strip("/"))
HANDED_ON = ("PATH", "HOME", "LANG")  # of the environment
GRACE = 5.0  # seconds beyond the deadline of a request that the host role gets to answer
PATIENCE = 30.0  # seconds that a sandbox gets to start, and to end; a machine that is emulated needs most of it
UNPACKING = 120.0  # seconds that it gets besides to unpack an image


class Zygote:
    """The process that launchers of outer sandboxes are copies of; its context is around those of the sandboxes."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.settimeout(PATIENCE)
        self._asking = threading.Lock()  # an answer is that of the one who has asked last
        with theirs:
            self._process = subprocess.Popen(
                command("harness.zygote"),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                env={name: value for name, value in os.environ.items() if name in (*HANDED_ON, "XDG_RUNTIME_DIR")},
                start_new_session=True,
            )

    def launch(self, config: Config, root: Path, streams: tuple[int, int, int]) -> int:
        """Have a sandbox launched and return a pidfd of its launcher, which ends with it and removes its root.

        Raises HarnessError where the zygote gives no answer.
        """
        request = json.dumps({"config": config, "root": str(root)}).encode()
        pidfds: list[int] = []
        with self._asking, contextlib.suppress(OSError):
            socket.send_fds(self._requests, [request], streams)
            pidfds = socket.recv_fds(self._requests, 1, 1)[1]
        if not pidfds:
            raise HarnessError(f"start outer sandbox: the process that launches it gives no answer{_said(self._log)}")
        return pidfds[0]

    def close(self) -> None:
        """End the zygote, which waits for all of its sandboxes to end; no other may have been left open."""
        self._requests.close()
        self._log.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.terminate()  # which its launchers are told of, and end what they have launched
            self._process.wait()
            raise HarnessError("end outer sandboxes: a launcher does not end; see `isoproof doctor --clean`") from None

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Outer:
    """One outer sandbox. It is being started when it is made; to enter its context is to wait until it is there."""

    def __init__(self, kit: Path, zygote: Zygote, image: Image | None = None) -> None:
        self._buffer = b""
        self._busy = True
        root = Path(tempfile.mkdtemp(prefix="isoproof-"))
        root.chmod(0o755)
        with contextlib.ExitStack() as undo:
            self._log = undo.enter_context(tempfile.TemporaryFile())
            stdin, requests = os.pipe()
            answers, stdout = os.pipe()
            self._requests = undo.enter_context(os.fdopen(requests, "wb", buffering=0))
            self._answers = undo.enter_context(os.fdopen(answers, "rb", buffering=0))
            try:
                for name, target in _symlinks().items():
                    (root / name).symlink_to(target)
                self._launcher = zygote.launch(config(root), root, (stdin, stdout, self._log.fileno()))
            except BaseException:
                remove_root(root)
                raise
            finally:
                os.close(stdin)
                os.close(stdout)
            undo.callback(os.close, self._launcher)
            undo.callback(self._end)
            self._patience = PATIENCE + (UNPACKING if image else 0.0)
            self._undo = undo.pop_all()
        self._send({"kit": str(kit), "image": asdict(image) if image else None})  # which closes one that has ended

    def run(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Have the host role do one run and return its answer (see `harness.host`).

        `deadline` is in seconds. Raises HarnessError where there is no answer; the sandbox is of no use then.
        """
        self._busy = True
        self._send(request | {"deadline": deadline})
        return self._receive(time.monotonic() + deadline + GRACE)

    def _send(self, message: dict[str, Any]) -> None:
        view = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while view:
                view = view[self._requests.write(view) :]
        except BrokenPipeError:
            raise self._no_answer("has ended") from None

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise self._no_answer("did not answer in time")
            data = self._answers.read(1 << 16)
            if not data:
                raise self._no_answer("has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._busy = False
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _no_answer(self, how: str) -> HarnessError:
        """End the sandbox, wait for that, and return how it failed, with what it has said last."""
        self._end()
        ended = select.poll()
        ended.register(self._launcher, select.POLLIN)
        ended.poll(PATIENCE * 1000)
        said = _said(self._log)
        self.close()
        return HarnessError(f"run in outer sandbox: it {how}{said}")

    def close(self) -> None:
        """Have the sandbox end, and with it everything that was started in it; closing twice is no error.

        Nobody waits for that here, but the zygote does at its own end: the next sandbox need not.
        """
        self._undo.close()

    def _end(self) -> None:
        """Let the host role end, for nobody makes requests any more; where it is busy have its launcher tell it."""
        self._requests.close()
        if self._busy:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._launcher, signal.SIGTERM)

    def __enter__(self) -> Outer:
        try:
            answer = self._receive(time.monotonic() + self._patience)  # the first answer says that it is there
            if "error" in answer:
                raise HarnessError(answer["error"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def start(image: Image | None = None) -> Iterator[Outer]:
    """Start an outer sandbox with the probe kit in it, and an image if one is given, and with a zygote of its own.

    Raises HarnessError where no sandbox or no kit can be made here.
    """
    with Zygote() as zygote, Outer(build_kit(), zygote, image) as outer:
        yield outer


def remove_root(root: Path) -> None:
    """Remove the root of a sandbox, which holds nothing but symlinks; never a tree, for a tree could be a mount."""
    with contextlib.suppress(OSError):
        for entry in root.iterdir():
            if entry.is_symlink():
                entry.unlink()
        root.rmdir()


def _said(log: IO[bytes]) -> str:
    """Return the end of a message: what has been written to a log last, if anything."""
    log.seek(0)
    lines = log.read().decode(errors="backslashreplace").strip().splitlines()
    return f"; it said: {lines[-1]}" if lines else ""


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
        "root": {"path": str(root), "readonly": True},  # it is the machine's, and stays
        "hostname": f"outer-{os.getpid()}",
        "domainname": "outer.example",
        "process": {
            "args": [sys.executable],  # which its first process is a copy of
            "cwd": "/",
            "env": [
                *(f"{name}={value}" for name, value in os.environ.items() if name in HANDED_ON),
                f"XDG_RUNTIME_DIR={WORK}",
            ],
            "user": {"uid": uid, "gid": gid},
            # Nothing inheritable or ambient where root's launchers are copied from: root has neither by itself.
            "capabilities": {kind: _own_capabilities(uid) for kind in (SETS if uid else SETS[:3])},
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
    """Return limits that limit nothing, for every controller that version 2 can hand down to us: so it does.

    An ordinary user gets no cpuset: the kernel may refuse to move root's processes into a new one, and any of them in
    the user's session would be in the way of the whole sandbox.
    """
    processors = Path("/sys/devices/system/cpu/possible").read_text().strip()
    unlimited: dict[str, tuple[str, Config]] = {
        "memory": ("memory", {"limit": -1}),
        "pids": ("pids", {"limit": -1}),
        "cpu": ("cpu", {"shares": 1024}),
        **({"cpuset": ("cpu", {"cpus": processors})} if uid == 0 else {}),
    }
    found: Config = {}
    for name, (field, limit) in unlimited.items():
        with contextlib.suppress(StartError):
            if any(each.version == 2 and name in each.controllers for each in hierarchies({name})):
                found.setdefault(field, {}).update(limit)
    return found


def command(module: str) -> list[str]:
    """Return the command that runs `main` of one of our modules in an interpreter that loads nothing else."""
    # Behind the standard library, of which whatever else is installed beside us may have modules by the same names.
    text = f"import sys; sys.path.append({str(PACKAGE.parent)!r}); from {module} import main; main()"
    flags = ["-I", "-S", *(["-B"] if sys.dont_write_bytecode else [])]
    return [sys.executable, *flags, "-c", text]


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
