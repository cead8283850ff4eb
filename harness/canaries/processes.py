"""Bait that is processes and what they live in."""

import contextlib
import ctypes
import fcntl
import mmap
import os
import random
import signal
import socket
import struct
import sys
from pathlib import Path

from harness import bait
from harness.canaries.base import Canary, Facts
from harness.errors import HarnessError
from harness.runtime import members
from harness.runtime.syscalls import CLONE, invoke

MEBIBYTE = 1 << 20
NS_GET_MNTNS_ID = 0x8008_B705  # _IOR(0xb7, 5, __u64), ioctl_nsfs(2)


class Process(Canary):
    """A process with a token in its environment and its arguments, which blocks all signals to keep them.

    A blocked signal is never ignored, it stays pending (signal(7)): what was sent can be read from the
    process's status afterwards, with no handler and no race. Only SIGKILL and SIGSTOP work on it. It is
    Python because any program that we could name might be missing, or be one of those that look at their
    own name (busybox, uutils).
    """

    def place(self) -> None:
        def become_bait(ready: int) -> None:
            os.set_inheritable(ready, True)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            program = f"import os, _signal; os.write({ready}, b'.'); os.close({ready}); _signal.pause()"
            arguments = [sys.executable, "-I", "-S", "-c", program, f"--isoproof-canary={self.token}"]
            os.execve(sys.executable, arguments, {"ISOPROOF": f"isoproof-canary={self.token}"})

        self.child = self.undo.enter_context(bait.Child(become_bait))

    def facts(self) -> Facts:
        return {
            "pid": self.child.pid,
            "token": self.token,
            "alive": self.child.alive(),
            "signals": self.child.pending_signals(),
        }


class Signal(Canary):
    """A sender: its act sends SIGUSR1 to the waiting probe's process, from the host.

    That process has the launch's nonce in its arguments, and the pid which the probe says it has.
    """

    def facts(self) -> Facts:
        return {"pid": os.getpid()}

    def act(self, context: Facts) -> Facts:
        ready = context["ready"]
        inside = ready.get("pid") if isinstance(ready, dict) else None
        for pid in bait.processes_of(self.nonce):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
                if bait.innermost_pid(pid) == inside:
                    os.kill(pid, signal.SIGUSR1)
                    return {"sent": "SIGUSR1"}
        raise HarnessError(f"act canary signal: no process of this container has the pid {inside} inside")


class Cgroup(Canary):
    """A sibling of the container's cgroup, in every hierarchy in which the host role may make one."""

    def place(self) -> None:
        self.name = f"isoproof-canary-{self.token}"
        self.places: list[Path] = []
        for own in bait.own_cgroups(set()).values():
            with contextlib.suppress(OSError):
                self.places.append(self.undo.enter_context(bait.new_cgroup(own / self.name)))
        if not self.places:
            raise HarnessError("place canary cgroup: no hierarchy is writable; use a delegated cgroup")

    def facts(self) -> Facts:
        return {
            "name": self.name,
            "paths": [str(path) for path in self.places],
            "present": all(path.is_dir() for path in self.places),
        }


class Freezer(Canary):
    """Its act moves what a container has left in the background into a cgroup below the container's, and freezes it."""

    def place(self) -> None:
        self.frozen: list[int] = []

    def facts(self) -> Facts:
        return {"frozen": self.frozen}

    def act(self, context: Facts) -> Facts:
        for pid in bait.processes_of(self.nonce):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
                if pid != context["pid"] and os.getsid(pid) == pid:
                    self._freeze(pid)
        return {}

    def _freeze(self, pid: int) -> None:
        inner = bait.freezer_of(pid) / f"frozen-{pid}"
        self.undo.enter_context(bait.new_cgroup(inner))
        self.undo.callback(members.kill, inner)
        (inner / "cgroup.procs").write_text(str(pid))
        if members.freeze(inner):
            self.frozen.append(pid)


class MemoryNest(Canary):
    """A memory cgroup around the container's, where two processes live that the OOM killer prefers.

    If the container's own limit works, the container dies alone. If not, it hits the nest's, and a
    bystander dies for it. `limit` and `victim` (the size of each bystander) are in MiB.
    """

    def place(self, limit: int = 128, victim: int = 20) -> None:
        self.nest, self.bystanders, unified = bait.nest(self.undo, f"isoproof-nest-{self.token}", "memory")
        self.events = "memory.events.local" if unified else "memory.oom_control"
        size = str(limit * MEBIBYTE)
        (self.nest / ("memory.max" if unified else "memory.limit_in_bytes")).write_text(size)
        swap = self.nest / ("memory.swap.max" if unified else "memory.memsw.limit_in_bytes")
        if swap.exists():  # CONFIG_SWAP; without this, the nest would swap and not kill
            swap.write_text("0" if unified else size)

        def live(ready: int) -> None:
            (self.bystanders / "cgroup.procs").write_text("0")
            Path("/proc/self/oom_score_adj").write_text("500")
            memory = mmap.mmap(-1, victim * MEBIBYTE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for page in range(0, len(memory), mmap.PAGESIZE):
                memory[page] = 1
            os.write(ready, b".")
            bait.wait_for_ever()

        self.children = [self.undo.enter_context(bait.Child(live)) for _ in range(2)]

    def facts(self) -> Facts:
        return {
            "path": str(self.nest),
            "cgroup": f"{self.nest.name}/container",
            "pids": [child.pid for child in self.children],
            "alive": [child.alive() for child in self.children],
            "oom_kill": self._killed(self.nest) + self._killed(self.bystanders),
        }

    def _killed(self, cgroup: Path) -> int:
        """How many processes directly in this cgroup the OOM killer has killed."""
        counters = dict(line.split() for line in (cgroup / self.events).read_text().splitlines())
        return int(counters["oom_kill"])


class PidsNest(Canary):
    """A pids cgroup around the container's, with a limit of its own, from which a process of the host's forks.

    Its act is that fork, which `forked` tells of. Where the container has no limit it takes what is the nest's.
    """

    def place(self, limit: int = 96) -> None:
        self.nest = bait.nest(self.undo, f"isoproof-nest-{self.token}", "pids")
        (self.nest.path / "pids.max").write_text(str(limit))
        self.forked: bool | None = None

    def facts(self) -> Facts:
        cgroups = {entry.name for entry in self.nest.path.iterdir() if entry.is_dir()}
        return {
            "cgroup": f"{self.nest.path.name}/container",
            "forked": self.forked,
            "left": sorted(cgroups - {self.nest.bystanders.name}),
        }

    def act(self, context: Facts) -> Facts:
        def fork(ready: int) -> None:
            (self.nest.bystanders / "cgroup.procs").write_text("0")
            if os.fork():
                os.wait()  # before it says so and is ended: the other would keep the cgroup for a moment
                os.write(ready, b".")
            os._exit(0)

        try:
            bait.Child(fork).__exit__()
            self.forked = True
        except HarnessError:  # EAGAIN, or whatever else has kept it from forking
            self.forked = False
        return {}


class Burner(Canary):
    """A process of the host that uses all the CPU time it gets, on one CPU if told which."""

    def place(self, cpu: int | None = None) -> None:
        def burn(ready: int) -> None:
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            os.write(ready, b".")
            while True:
                pass

        self.child = self.undo.enter_context(bait.Child(burn))

    def facts(self) -> Facts:
        return {"pid": self.child.pid, "alive": self.child.alive()}


class Tenant(Canary):
    """Another container's root: a process in a user namespace of its own, and a file that only it may open.

    Its ids are `size` from `first` on, as the host counts them. Only root can map them.
    """

    def place(self, first: int = 1 << 21, size: int = 1 << 16) -> None:
        def enter(ready: int) -> None:
            invoke("unshare", CLONE.NEWUSER)
            os.write(ready, b".")
            bait.wait_for_ever()

        self.child = self.undo.enter_context(bait.Child(enter))
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{self.child.pid}/{name}").write_text(f"0 {first} {size}")
        self.path = self.directory / "private"
        self.path.write_text(self.token)
        self.path.chmod(0o600)
        os.chown(self.path, first, first)

    def facts(self) -> Facts:
        return {**self.where(self.path), "pid": self.child.pid, "alive": self.child.alive()}


class Strangers(Canary):
    """Two users of the host, `one` and `another`, whom nobody else is likely to be.

    What the kernel counts for a user is counted on the whole machine, also what another run takes there as the same.
    """

    def place(self) -> None:
        self.one, self.another = random.sample(range(20_000, 60_000), 2)

    def facts(self) -> Facts:
        return {"one": self.one, "another": self.another}


class MountNamespace(Canary):
    """The host's mount namespace, by its `number`, or 0 where the kernel does not tell that (before 6.11)."""

    def facts(self) -> Facts:
        with open("/proc/self/ns/mnt", "rb") as namespace:
            try:
                return {"number": struct.unpack("Q", fcntl.ioctl(namespace, NS_GET_MNTNS_ID, bytes(8)))[0]}
            except OSError:
                return {"number": 0}


class Server(Canary):
    """A process that serves a Unix socket, open to everyone, and has a file open with the token in it.

    It is the user of this number, without capabilities, or else whoever runs the harness. `descriptor` is the file's.
    """

    DESCRIPTOR = 77

    def place(self, uid: int | None = None) -> None:
        self.path = self.directory / "service"

        def serve(ready: int) -> None:
            secret = os.memfd_create("secret")
            os.write(secret, self.token.encode())
            os.dup2(secret, self.DESCRIPTOR)
            with bait.listen(socket.AF_UNIX, str(self.path)):
                self.path.chmod(0o666)
                if uid is not None:
                    bait.become(uid)
                os.write(ready, b".")
                bait.wait_for_ever()

        self.child = self.undo.enter_context(bait.Child(serve))

    def facts(self) -> Facts:
        return {
            **self.where(self.path),
            "pid": self.child.pid,
            "alive": self.child.alive(),
            "descriptor": self.DESCRIPTOR,
            "token": self.token,
        }


class Sibling(Canary):
    """A process of another container: in a PID namespace of its own, without capabilities, and the token in its memory.

    `pid` is its number on the host, `inner` the one in its own namespace, which is high, so that it means nobody in the
    container; the token is at `address`.
    """

    FIRST_PID = 30_000

    def place(self) -> None:
        secret = ctypes.create_string_buffer(self.token.encode())  # at the same place in every copy of this process
        self.address = ctypes.addressof(secret)

        def be_the_first(ready: int) -> None:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(self.FIRST_PID))
            os.write(ready, b".")
            bait.wait_for_ever()

        def live(ready: int) -> None:
            assert secret.raw
            bait.become(os.getuid())
            os.write(ready, b".")
            bait.wait_for_ever()

        with bait.new_pid_namespace():
            self.first = self.undo.enter_context(bait.Child(be_the_first))
            self.child = self.undo.enter_context(bait.Child(live))

    def facts(self) -> Facts:
        return {
            "pid": self.child.pid,
            "inner": bait.innermost_pid(self.child.pid),
            "namespace": f"/proc/{self.first.pid}/ns/pid",
            "address": self.address,
            "token": self.token,
            "alive": self.child.alive(),
        }


class EndOfLauncher(Canary):
    """Its act kills the launcher and whatever else of the runtime is not in the container, without a warning."""

    kills_launcher = True

    def place(self) -> None:
        self.killed: list[int] = []

    def facts(self) -> Facts:
        return {"killed": self.killed}

    def act(self, context: Facts) -> Facts:
        launcher = context["launcher"]
        assert isinstance(launcher, int)
        self.killed = [launcher, *bait.descendants(launcher)]
        for pid in self.killed:
            with contextlib.suppress(ProcessLookupError):  # it has ended with another one
                os.kill(pid, signal.SIGKILL)
        return {}
