"""Launchers as processes of their own, with one container each, as `isoproof run` is one; and what they are copies of.

A launcher prepares its container when it is made, and runs it as often as it is asked to, until it is to delete it. It
talks to the test in messages of JSON, over a socket of its own. As it is small, so are the copies that it makes.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from harness.runtime import launch, supervise
from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.step import Plan
from harness.runtime.syscalls import CLONE, PR, invoke

LONGEST = 1 << 16  # bytes of a message
PATIENCE = 5.0  # seconds; who has not answered by then does not
CHECKOUT = Path(__file__).resolve().parents[2]
COMMAND = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from {__name__} import main; main()"
USER = 12345  # an id that nobody has
GLANCE = 0.01  # seconds between two looks of a launcher at what is frozen, which are further apart for users


class Zygote:
    """The process that launchers are copies of. It has loaded the runtime, and nothing of the test."""

    def __init__(self, user: bool) -> None:
        """Start it; where it is to be a `user`'s, it is started by root, who can execute it, and then changes."""
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.settimeout(PATIENCE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", COMMAND, *(["user"] if user else [])], stdin=theirs.fileno()
            )
        self.pid = self._process.pid

    def copy(self) -> tuple[int, int, socket.socket]:
        """Return the process id of a new launcher, a pidfd of it, and the socket by which it is told what to do."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._requests, [b"."], [theirs.fileno()])
        pid, (pidfd,), _, _ = socket.recv_fds(self._requests, LONGEST, 1)
        control.settimeout(PATIENCE)
        return int(pid), pidfd, control

    def close(self) -> None:
        """End it; its copies stay."""
        self._requests.close()
        self._process.wait(PATIENCE)


class Launcher:
    """One launcher, as the test sees it."""

    def __init__(
        self, zygote: Zygote, config: Config, bundle: Path, pooled: bool = False, forked: bool = False
    ) -> None:
        """Have a container prepared; `pooled`, with its parts ready, or `forked`, by the reference executor."""
        self.pid, self._pidfd, self._control = zygote.copy()
        asked = {"config": config, "bundle": str(bundle), "pooled": pooled, "forked": forked}
        self._control.send(json.dumps(asked).encode())
        self.name, cgroups = self._answer()
        self.record = f"{self.name}.json"
        self.cgroups = [Path(cgroup) for cgroup in cgroups]

    def run(self, deadline: float | None = None) -> socket.socket:
        """Have the container run; return the other end of its program's standard streams."""
        end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [json.dumps(deadline).encode()], [theirs.fileno()])
        return end

    def status(self) -> int:
        """Wait until the container has ended; return the exit status that the launcher has for it."""
        status: int = self._answer()
        return status

    def _answer(self) -> Any:
        message = self._control.recv(LONGEST)
        assert message, "the launcher has ended without a word"
        return json.loads(message)

    def first_process(self) -> int:
        """Return the process id of the container's first process."""
        (pid,) = _children(self.pid)
        return pid

    def program(self, under_init: bool) -> int:
        """Return the process id of the container's program, which may be the child of a first process of ours.

        That is the first of its children: what has joined the container, and is orphaned, comes to be one, too.
        """
        first = self.first_process()
        return _children(first)[0] if under_init else first

    def signal(self, number: int) -> None:
        """Send it a signal, and wait until it has done what it does about that."""
        signal.pidfd_send_signal(self._pidfd, number)
        end = time.monotonic() + PATIENCE
        while _pending_or_running(self.pid):
            assert time.monotonic() < end, f"the launcher never rests: {_status(self.pid)}"
            os.sched_yield()

    def passes_signals_on(self) -> bool:
        """Return whether it catches signals: proc_pid_status(5)."""
        return bool(int(_status(self.pid)["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)

    def kill(self) -> None:
        """Kill it at once."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._end()

    def delete(self) -> None:
        """Have it undo all that was prepared, and end."""
        self._control.shutdown(socket.SHUT_WR)
        self._end()

    def _end(self) -> None:
        assert select.select([self._pidfd], [], [], PATIENCE)[0], "the launcher does not end"
        self.close()

    def close(self) -> None:
        """Have nothing to do with it any more; it ends as soon as its container has."""
        if self._control.fileno() >= 0:
            os.close(self._pidfd)
            self._control.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pending_or_running(pid: int) -> bool:
    """Return whether a process has still to get a signal, or is at work: proc_pid_status(5)."""
    status = _status(pid)
    return status["State"][0] in "RD" or any(int(status[mask], 16) for mask in ("SigPnd", "ShdPnd"))


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def ordinary_id() -> int:
    """Return by which id an ordinary user is known here: where this is a user's root alone, by that one's."""
    ids = int(Path("/proc/self/uid_map").read_text().split()[2])
    return USER if ids > USER else 0


def become_ordinary() -> None:
    """Stop being root for good, by another id or by one namespace more; but still look into the own /proc entries."""
    if ordinary_id():
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
    else:
        invoke("unshare", CLONE.NEWUSER)
        for kind in ("uid", "gid"):
            Path(f"/proc/self/{kind}_map").write_text(f"{USER} 0 1")
    invoke("prctl", PR.SET_DUMPABLE, 1, 0, 0, 0)


def main() -> None:
    """Be the zygote: make a copy for each socket that comes on standard input, until no more can come."""
    if sys.argv[1:] == ["user"]:
        become_ordinary()
    supervise.GLANCE = GLANCE
    gc.freeze()  # what a collection writes to would be copied in every copy
    with socket.socket(fileno=0) as requests:
        while True:
            message, controls, _, _ = socket.recv_fds(requests, 1, 1)
            if not message:
                os._exit(0)
            _reap()
            pid = os.fork()
            if pid == 0:
                requests.close()
                _launch(socket.socket(fileno=controls[0]))
            pidfd = os.pidfd_open(pid)  # it is not over before it has been told something
            socket.send_fds(requests, [str(pid).encode()], [pidfd])
            os.close(pidfd)
            os.close(controls[0])


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _launch(control: socket.socket) -> NoReturn:
    """Be a launcher to the end."""
    try:
        asked = json.loads(control.recv(LONGEST))

        def alter(plan: Plan) -> Plan:
            return replace(plan, replay=plan.replay and not asked["forked"])

        with launch.prepared(read(asked["config"]), Path(asked["bundle"]), alter, asked["pooled"]) as container:
            if container.pool:
                container.pool.fill()
            cgroups = [step.name for step in container.plan.before if step.name.startswith("cgroup:")]
            _tell(control, [container.host.name, [name.partition(":")[2] for name in cgroups]])
            while (request := socket.recv_fds(control, LONGEST, 1))[0]:
                _tell(control, _run(container, request[1][0], json.loads(request[0])))
    except ConnectionError:
        pass  # the test has failed, and goes on with others
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _run(container: launch.Prepared, stream: int, deadline: float | None) -> int:
    """Run the container with its one stream; return its exit status, or that of a failed start."""
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        return container.run((stream, stream, null), deadline, pass_signals=True)
    except StartError as error:
        return error.status
    finally:
        os.close(null)
        os.close(stream)


def _tell(control: socket.socket, message: str | int | Sequence[object]) -> None:
    control.send(json.dumps(message).encode())
