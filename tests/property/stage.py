"""The host of the containers of test_lives.py: a throwaway one, with two roots, and what could be left on it."""

import contextlib
import functools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.runtime import inspect, members
from harness.runtime.syscalls import MS, invoke, libc
from tests.property.launchers import Zygote, become_ordinary, ordinary_id

IPC_RMID = 0
PATIENCE = 5.0  # seconds that the kernel and the launchers get for what nobody waits for
ROOTS = tuple(Path("/run/bundles", name) for name in ("first", "second"))


@dataclass(frozen=True)
class Stage:
    """The host, with what the containers on it are made from."""

    zygote: Zygote
    records: Path

    def processes(self, launchers: set[int]) -> list[int]:
        """Return the processes that are neither of the test's own nor launchers."""
        reap()
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        zombies = {pid for pid in pids if _parent_of_zombie(pid) == self.zygote.pid}  # killed launchers
        return [pid for pid in pids if pid not in {os.getpid(), self.zygote.pid} | launchers | zombies]

    def lasting(self) -> dict[str, object]:
        """Return what no container changes, even while it lives."""
        return {
            "mounts": Path("/proc/self/mountinfo").read_text(),
            "name": os.uname().nodename,
            "keys": [Path("/proc/sysvipc", kind).read_text() for kind in ("msg", "sem", "shm")],
            "sockets": [line for line in Path("/proc/net/unix").read_text().splitlines() if " @" in line],
            "shared memory": os.listdir("/dev/shm"),
        }

    def left(self) -> dict[str, object]:
        """Return what is left where no launcher lives any more, and none that was killed has to be cleared up after."""
        return {
            **self.lasting(),
            "processes": self.processes(set()),
            "records": self.recorded(),
            "places": [sorted(os.listdir(root / "rootfs")) for root in ROOTS],
            "descriptors": sorted(os.listdir("/proc/self/fd")),
        }

    def recorded(self) -> list[str]:
        """Return the names of the records that launchers keep, and of those that are kept of a root."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.records))
        return []

    def clear(self, cgroups: set[Path]) -> None:
        """Make an end of everything, whoever should have done so."""
        for cgroup in cgroups:
            members.thaw(cgroup)
        while pids := self.processes(set()):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
        for cgroup in cgroups:
            members.remove_inner(cgroup)
            with contextlib.suppress(FileNotFoundError):
                cgroup.rmdir()
        for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
            libc.shmctl(int(line.split()[1]), IPC_RMID, None)
        for record in self.recorded():
            (self.records / record).unlink()
        for root in ROOTS:
            for place in ("proc", "dev", "sys"):
                with contextlib.suppress(FileNotFoundError):
                    (root / "rootfs" / place).rmdir()


def _parent_of_zombie(pid: int) -> int:
    """Return the parent of a process that has ended and was not reaped, 0 for any other: proc_pid_stat(5)."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return int(parent) if state == "Z" else 0
    return 0


def reap() -> None:
    """Do what the first process of a host has to do for those that have lost their parent."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def assert_settled(wrong: Callable[[], object]) -> None:
    """Assert that nothing is wrong, if not now, then when the kernel and the launchers have had their time."""
    end = time.monotonic() + PATIENCE
    reap()
    while found := wrong():
        assert time.monotonic() < end, found
        time.sleep(0.0005)
        reap()


@contextlib.contextmanager
def stage(program: Path, user: bool) -> Iterator[Stage]:
    """Make the throwaway process a host, of root or of an ordinary user, where a program is in both roots."""
    for place in (b"/run", b"/dev/shm"):
        invoke("mount", b"tmpfs", place, b"tmpfs", MS.NOSUID, b"mode=755,size=64m")
    for root in ROOTS:
        (root / "rootfs/bin").mkdir(parents=True)
        shutil.copy(program, root / "rootfs/bin/obedient")
        for name, text in (("data", "data\n"), ("script", "#!/bin/nonesuch\n")):
            (root / "rootfs/bin" / name).write_text(text)
            (root / "rootfs/bin" / name).chmod(0o755)
    records = Path("/run/isoproof")
    if user:
        os.environ["XDG_RUNTIME_DIR"] = "/run/user"
        records = Path("/run/user/isoproof")
        records.mkdir(parents=True)
        for path in Path("/run").rglob("*"):
            os.chown(path, ordinary_id(), ordinary_id())
    zygote = Zygote(user)
    if user:
        become_ordinary()
    try:
        yield Stage(zygote, records)
    finally:
        zygote.close()


def freezers(cgroups: list[Path]) -> dict[int, Path]:
    """Return by which of these cgroups a container can be frozen, by the version; whether they are there or not."""
    return {version: path for version, point in _freezing() for path in cgroups if path.is_relative_to(point)}


@functools.cache
def _freezing() -> list[tuple[int, str]]:
    """Return the versions of cgroups that freeze here, and where they are mounted."""
    found = inspect.hierarchies(set())
    return [(each.version, each.point) for each in found if each.version == 2 or "freezer" in each.controllers]
