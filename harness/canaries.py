"""Bait on the host: a process, a file, a socket, a cgroup … that a container must not reach.

A claim of absence proves something only if the thing is really there. So the host role places a canary,
the host's own probe finds it, and the probe inside does not. Afterwards the canary tells what happened to
it: which signals arrived, who connected, what was written.

One class per kind; the kind is the class's name in lower case, words joined by hyphens (`MemoryNest` is
`memory-nest`). Everything here runs in the host role, inside the outer sandbox: standard library only.
"""

import contextlib
import fcntl
import mmap
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import sys
import tempfile
from pathlib import Path

from harness import bait, launcher_bait, rtnetlink
from harness.errors import HarnessError
from harness.runtime.syscalls import MS, invoke

Facts = dict[str, object]

MEBIBYTE = 1 << 20


class Canary:
    """One piece of bait: `place` puts it out, `close` undoes all that was done until then."""

    def __init__(self, directory: Path, nonce: str) -> None:
        self.directory = directory
        self.nonce = nonce
        self.token = secrets.token_hex(16)
        self.undo = contextlib.ExitStack()
        self.undo.callback(shutil.rmtree, directory, ignore_errors=True)

    def place(self) -> None:
        """Puts the bait out, and into `undo` how to take it away; arguments come from the scenario."""

    def facts(self) -> Facts:
        """What is true of the bait now. Asked when it is placed, and again when the container has ended."""
        return {}

    def where(self, path: Path) -> Facts:
        """How a scenario speaks of a file: by path, or by directory (to mount that) and name."""
        return {"path": str(path), "name": path.name, "directory": str(path.parent)}

    def act(self, context: Facts) -> Facts:
        """Does the canary's deed while a probe waits (`meanwhile:`) and returns the reply for that probe.

        `context["ready"]` is what the probe said before it began to wait.
        """
        raise HarnessError(f"act canary: a {type(self).__name__} has nothing to do; remove `meanwhile:`")

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        """Changes the process that is about to start the container, and that calls this; `streams` are for it."""

    def close(self) -> None:
        """Removes the bait; does not mind if the container has removed it first."""
        self.undo.close()


def kinds() -> dict[str, type[Canary]]:
    """Every kind by the name that scenarios use."""
    return {re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in Canary.__subclasses__()}


def place(kind: str, arguments: dict[str, object], workdir: str | Path, nonce: str) -> Canary:
    """Places a canary of `kind` in a directory of its own below `workdir`.

    `nonce` is the launch's, by which the container's processes are known. Raises HarnessError if it
    cannot be placed.
    """
    if kind not in kinds():
        raise HarnessError(f"place canary {kind}: no such kind; there are {', '.join(sorted(kinds()))}")
    directory = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=workdir))
    directory.chmod(0o755)
    canary = kinds()[kind](directory, nonce)
    try:
        canary.place(**arguments)
    except BaseException as failure:
        canary.close()
        if isinstance(failure, (OSError, TypeError)):
            raise HarnessError(f"place canary {kind}: {failure}") from failure
        raise
    return canary


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
            program = f"import os, signal; os.write({ready}, b'.'); os.close({ready}); signal.pause()"
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


class File(Canary):
    """A file with a token in it, in a directory where nothing else is."""

    def place(self, name: str = "canary", mode: int = 0o644) -> None:
        self.path = self.directory / name
        self.path.write_text(self.token)
        self.path.chmod(mode)
        self.status = self.path.stat()

    def facts(self) -> Facts:
        return {
            **self.where(self.path),
            "token": self.token,
            "device": self.status.st_dev,
            "inode": self.status.st_ino,
            "unchanged": self.path.exists() and self.path.read_text() == self.token,
        }


class Directory(Canary):
    """A directory with one file in it; tells whether anything was added, removed or mounted there."""

    def place(self) -> None:
        (self.directory / "resident").write_text(self.token)
        self.before = bait.entries_of(self.directory)

    def facts(self) -> Facts:
        return {
            "path": str(self.directory),
            "climbing": "../" * 16 + str(self.directory).lstrip("/"),
            "token": self.token,
            "before": self.before,
            "entries": bait.entries_of(self.directory),
            "mounts": bait.mounts_at(self.directory),
        }


class Volume(Canary):
    """A shared tmpfs, such as a host gives to containers; its act mounts another tmpfs at `below` in it.

    Whether the second mount is seen inside is a matter of propagation alone (mount_namespaces(7)).
    """

    def place(self) -> None:
        self.undo.enter_context(bait.tmpfs(self.directory))
        invoke("mount", b"none", os.fsencode(self.directory), 0, MS.SHARED, 0)
        self.below = self.directory / "below"
        self.below.mkdir()

    def facts(self) -> Facts:
        mounts = bait.mounts_at(self.directory)
        return {
            "path": str(self.directory),
            "below": str(self.below),
            "mounted": str(self.below) in mounts,
            "mounts": mounts,
        }

    def act(self, context: Facts) -> Facts:
        self.undo.enter_context(bait.tmpfs(self.below))
        return {"mounted": self.below.name}


class Submounts(Canary):
    """A tmpfs with a second tmpfs mounted at `sub` in it: what a recursive bind mount brings along."""

    def place(self) -> None:
        self.undo.enter_context(bait.tmpfs(self.directory))
        self.sub = self.directory / "sub"
        self.sub.mkdir()
        self.undo.enter_context(bait.tmpfs(self.sub))
        (self.sub / "resident").write_text(self.token)

    def facts(self) -> Facts:
        return {
            "path": str(self.directory),
            "sub": self.sub.name,
            "token": self.token,
            "entries": bait.entries_of(self.sub),
        }


class Tcp(Canary):
    """Listeners with one port on the host's loopback addresses and on one that looks like a network card's.

    A connection succeeds before anyone accepts it (listen(2), backlog), so they are counted when facts
    are asked for. An address that this host does not have (no IPv6, say) is left out; `addresses` says
    which ones are served.
    """

    def place(self, addresses: tuple[str, ...] = ("127.0.0.1", "::1", "192.0.2.1")) -> None:
        self.accepted = 0
        self.listeners: dict[str, socket.socket] = {}
        self.port = 0  # the kernel chooses for the first address, and no one else lives in this namespace
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with contextlib.suppress(OSError):  # EAFNOSUPPORT, EADDRNOTAVAIL: the host has no such address
                listener = self.undo.enter_context(bait.listen(family, (address, self.port)))
                self.listeners[address] = listener
                self.port = listener.getsockname()[1]
        if not self.listeners:
            raise HarnessError(f"place canary tcp: no address of {', '.join(addresses)} is here; is lo up?")

    def facts(self) -> Facts:
        self.accepted += sum(1 for listener in self.listeners.values() for _ in bait.visitors(listener))
        return {
            "port": self.port,
            "addresses": list(self.listeners),
            "accepted": self.accepted,
            "inodes": [os.fstat(listener.fileno()).st_ino for listener in self.listeners.values()],
        }


class Socket(Canary):
    """A Unix socket at a path, open to everyone; tells who came, as the host sees them (unix(7))."""

    def place(self) -> None:
        self.path = self.directory / "service"
        self.listener = self.undo.enter_context(bait.listen(socket.AF_UNIX, str(self.path)))
        self.path.chmod(0o666)
        self.peers: list[dict[str, int]] = []

    def facts(self) -> Facts:
        for visitor in bait.visitors(self.listener):
            credentials = visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
            pid, uid, gid = struct.unpack("iII", credentials)
            self.peers.append({"pid": pid, "uid": uid, "gid": gid})
        return {
            **self.where(self.path),
            "pid": os.getpid(),
            "inode": os.fstat(self.listener.fileno()).st_ino,
            "accepted": len(self.peers),
            "peers": self.peers,
        }


class Abstract(Canary):
    """A Unix socket without a file and permissions: only the network namespace keeps it apart (unix(7))."""

    def place(self) -> None:
        self.name = f"isoproof-canary-{self.token}"
        self.listener = self.undo.enter_context(bait.listen(socket.AF_UNIX, f"\0{self.name}"))
        self.accepted = 0

    def facts(self) -> Facts:
        self.accepted += sum(1 for _ in bait.visitors(self.listener))
        return {
            "name": self.name,
            "inode": os.fstat(self.listener.fileno()).st_ino,
            "accepted": self.accepted,
        }


class Lock(Canary):
    """A file with a POSIX write lock on it, held by a process of the host (fcntl(2), F_SETLK).

    `key` is how /proc/locks writes the file: device numbers in hexadecimal, inode in decimal.
    """

    def place(self) -> None:
        self.path = self.directory / "locked"
        self.path.write_text(self.token)
        self.path.chmod(0o666)

        def hold(ready: int) -> None:
            with self.path.open("r+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(ready, b".")
                bait.wait_for_ever()

        self.child = self.undo.enter_context(bait.Child(hold))
        status = self.path.stat()
        self.key = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"

    def facts(self) -> Facts:
        return {
            **self.where(self.path),
            "key": self.key,
            "pid": self.child.pid,
            "alive": self.child.alive(),
        }


class Interface(Canary):
    """A pair of network interfaces (veth(4)); its act makes a second pair and removes it again.

    The reply says how many of the kernel's messages about the second pair the host itself heard, so that
    silence inside means something.
    """

    def place(self) -> None:
        self.names = [f"iso{self.token[:8]}{end}" for end in "ab"]
        self.brief = [f"iso{self.token[:8]}{end}" for end in "cd"]
        rtnetlink.add_veth(*self.names)
        self.undo.callback(rtnetlink.delete_if_there, self.names[0])
        self.undo.callback(rtnetlink.delete_if_there, self.brief[0])

    def facts(self) -> Facts:
        present = {name for _, name in socket.if_nameindex()}
        return {"names": self.names, "brief": self.brief, "present": present.issuperset(self.names)}

    def act(self, context: Facts) -> Facts:
        with rtnetlink.listen_for_uevents() as listener:
            rtnetlink.add_veth(*self.brief)
            rtnetlink.delete_if_there(self.brief[0])
            return {"heard": sum(self.brief[0] in event for event in rtnetlink.received(listener))}


class Signal(Canary):
    """A sender: its act sends SIGUSR1 to the waiting probe's process, from the host.

    That process has the launch's nonce in its arguments, and the pid which the probe says it has.
    """

    def facts(self) -> Facts:
        return {"pid": os.getpid()}

    def act(self, context: Facts) -> Facts:
        ready = context["ready"]
        inside = ready.get("pid") if isinstance(ready, dict) else None
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
                of_container = self.nonce in Path(f"/proc/{pid}/cmdline").read_text()
                if of_container and bait.innermost_pid(pid) == inside:
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


class MemoryNest(Canary):
    """A memory cgroup around the container's, where two processes live that the OOM killer prefers.

    If the container's own limit works, the container dies alone. If not, it hits the nest's, and a
    bystander dies for it. `limit` and `victim` (the size of each bystander) are in MiB.
    """

    def place(self, limit: int = 128, victim: int = 20) -> None:
        own = bait.own_cgroups({"memory"})
        unified = "memory" not in own
        parent = own["" if unified else "memory"]
        if unified:
            bait.delegate_memory(parent)
        name = f"isoproof-nest-{self.token}"
        for hierarchy in own.values():  # a runtime makes the container's path in all, and removes its end only
            self.undo.callback(bait.remove_cgroup, hierarchy / name)
        self.nest = self.undo.enter_context(bait.new_cgroup(parent / name))
        if unified:
            bait.delegate_memory(self.nest)
        self.bystanders = self.undo.enter_context(bait.new_cgroup(self.nest / "bystanders"))
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


class Launcher(Canary):
    """A launcher that is odd in everything that its children inherit, and has left a secret in its environment.

    It has a controlling terminal, and has left open a directory with a file `secret` in it and a namespace.
    """

    def place(self) -> None:
        (self.directory / "secret").write_text(self.token)

    def facts(self) -> Facts:
        return {
            "token": self.token,
            "file": "secret",
            "directory": launcher_bait.DIRECTORY,
            "namespace": launcher_bait.NAMESPACE,
        }

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        os.environ["CANARY_SECRET"] = self.token
        launcher_bait.take_terminal()
        launcher_bait.take_odd_attributes()
        launcher_bait.leave_open(self.directory)


class Pseudoterminal(Canary):
    """A pseudoterminal of the host's, as every shell has one: a name in the host's /dev/pts (pts(4))."""

    def place(self) -> None:
        for end in os.openpty():
            self.undo.callback(os.close, end)
            self.path = os.ttyname(end)

    def facts(self) -> Facts:
        return {"path": self.path, "name": os.path.basename(self.path)}


class Log(Canary):
    """A file of the host's with older lines in it, to which the launcher lets standard error be written."""

    def place(self) -> None:
        self.path = self.directory / "log"
        self.path.write_text(f"{self.token}\n")

    def facts(self) -> Facts:
        text = self.path.read_text(errors="replace")
        return {"path": str(self.path), "kept": text.startswith(self.token), "text": text[-4096:]}

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.dup2(file, streams[2], inheritable=False)
        os.close(file)
