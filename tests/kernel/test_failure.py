"""Nothing stays behind: whatever step of a start fails, and after whatever step its launcher is killed.

A plan that uses every feature is broken after each of its steps in turn. The host, here a throwaway one, is compared
before and after: mounts, cgroups, processes, namespaces, interfaces, keys, IPC objects and files.
"""

import contextlib
import errno
import json
import os
import secrets
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import inspect, leftovers
from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.fields import HOOKS
from harness.runtime.launch import run
from harness.runtime.plan import plan
from harness.runtime.step import CHANNEL, Call, Packed, Plan, Step
from harness.runtime.syscalls import MS, invoke, number
from tests.kernel.bundles import bundle
from tests.kernel.test_launch import failing_at
from tests.kernel.test_namespaces import mapped
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

PARTS = ("before", "enter", "between", "steps", "after")
PATIENCE = 5.0  # seconds that the kernel gets to end what has lost its parent, and to collect its keys
USER = 700_000  # an id that nobody has, so that the keys which belong to it are the container's
MARK = 7  # bytes that a stopped step waits for, by which it is recognized
FIRST_ID = 600_000  # of the user namespace; the ids of the machine end before


KINDS = ("joined", "mapped", "rare")
LISTENER = "/run/agent"
CABLE = {"name": "eth0", "address": "10.9.8.2/24", "hostName": "cell0", "hostAddress": "10.9.8.1/24"}


def everything(directory: Path, kind: str) -> Config:
    """Make a bundle whose start needs every kind of step that goes together with others.

    `joined` has a namespace that is there already, `mapped` a user namespace, `rare` what has to do with the launcher
    while it runs or does not go with the others.
    """
    _, config = bundle(directory, "sh", "-c", "trap '' PIPE; echo .; exec sleep 600")
    config["domainname"] = "example"
    config["process"] |= {
        "user": {"uid": USER - FIRST_ID, "gid": 5, "additionalGids": [7]},
        "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }
    config["annotations"] = {"isoproof.init": "true"}
    volume = directory / "volume"
    volume.mkdir()
    config["mounts"] += [
        {"destination": "/made/on/the/way", "type": "bind", "source": str(volume), "options": ["rbind", "ro"]},
        {"destination": "/made/file", "type": "bind", "source": f"{directory}/config.json", "options": ["bind"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
    ]
    linux = config["linux"]
    linux |= {
        "cgroupsPath": f"isoproof-test-{secrets.token_hex(4)}/inner",
        "resources": {
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 20},
            "cpu": {"quota": 50_000, "period": 100_000, "shares": 256},
            "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "access": "rwm"}],
        },
        "personality": {"domain": "LINUX"},
        "rootfsPropagation": "private",
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]},
        "sysctl": {"kernel.shm_rmid_forced": "1"},
        "timeOffsets": {"boottime": {"secs": 5}},
        "devices": [{"type": "p", "path": "/dev/pipe"}],
    }
    linux["namespaces"].append({"type": "time"})
    config["hooks"] = {point: [{"path": "/bin/true"}] for point in HOOKS}
    if kind == "rare":
        rare(directory, config)
    elif kind == "mapped":
        mapped(config, (0, FIRST_ID, 200_000))
        for path in [directory / "rootfs", *(directory / "rootfs").rglob("*")]:
            os.chown(path, FIRST_ID, FIRST_ID, follow_symlinks=False)
        volume.chmod(0o755)
        linux["devices"] = []
    else:
        config["process"]["user"]["uid"] = USER
        entries = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
        linux["namespaces"] = [*entries, {"type": "network", "path": "/proc/self/ns/net"}]
    return read(config)


def rare(directory: Path, config: Config) -> None:
    """Ask for a terminal, a cable, a listener, an overlay, owners that are mapped, and a Landlock domain."""
    for name in ("lower", "upper"):
        (directory / name).mkdir()
    rights = ["execute", "read_file", "write_file"]
    config["annotations"] = {}
    config["process"] |= {
        "user": {"uid": USER, "gid": 5},
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "landlock": {
            "ruleset": {"handledAccessFS": rights},
            "rules": {"pathBeneath": [{"paths": ["/"], "allowedAccess": rights}]},
        },
    }
    layers = [f"lowerdir={directory}/upper:{directory}/lower"]
    config["mounts"].append({"destination": "/layers", "type": "overlay", "source": "overlay", "options": layers})
    if inspect.kernel_version() >= (6, 3):  # tmpfs could not be mapped before
        ids = [{"containerID": 0, "hostID": FIRST_ID, "size": 1000}]
        volume = {
            "destination": "/owned",
            "type": "bind",
            "source": f"{directory}/volume",
            "options": ["bind", "idmap"],
        }
        config["mounts"].append(volume | {"uidMappings": ids, "gidMappings": ids})
    config["linux"] |= {
        "veth": [CABLE],
        "memoryPolicy": {"mode": "MPOL_LOCAL"},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": LISTENER,
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"}],
        },
    }


@contextlib.contextmanager
def agent() -> Iterator[None]:
    """Have a process that takes listeners and does nothing with them."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(LISTENER)
        server.listen()
        pid = os.fork()
        while pid == 0:
            with server.accept()[0] as connection:
                while connection.recv(1 << 12):
                    pass
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def snapshot(directory: Path, config: Config) -> dict[str, Any]:
    """Return everything that a container could leave behind on its host."""
    name = config["linux"]["cgroupsPath"].partition("/")[0]
    parents = [hierarchy.parent for hierarchy in inspect.hierarchies(set())]
    processes = [entry for entry in os.listdir("/proc") if entry.isdigit()]
    return {
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "cgroups": [str(parent) for parent in parents if Path(parent, name).exists()],
        "controllers": [path.read_text() for parent in parents for path in Path(parent).glob("cgroup.subtree_control")],
        "processes": processes,
        "namespaces": sorted({name for pid in processes for name in namespaces_of(pid)}),
        "interfaces": socket.if_nameindex(),
        "keys": [line for line in Path("/proc/keys").read_text().splitlines() if f" {USER} " in line],
        "ipc": [Path("/proc/sysvipc", kind).read_text() for kind in ("msg", "sem", "shm")],
        "shared memory": os.listdir("/dev/shm"),
        "files": sorted(str(path) for path in [*directory.rglob("*"), *Path("/run").rglob("*")]),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "name": os.uname().nodename,
    }


def namespaces_of(pid: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
        return [os.readlink(path) for path in Path("/proc", pid, "ns").iterdir()]
    return []


def settled(directory: Path, config: Config, before: dict[str, Any]) -> list[str]:
    """Return what differs from before, when the kernel has had its time."""
    end = time.monotonic() + PATIENCE
    while True:
        now = snapshot(directory, config)
        changed = [f"{name}: {before[name]} -> {now[name]}" for name in now if now[name] != before[name]]
        if not changed or time.monotonic() > end:
            return changed
        time.sleep(0.02)


@contextlib.contextmanager
def stage(kind: str) -> Iterator[tuple[Path, Config]]:
    """Make the throwaway process a host with file systems of its own, and a bundle in it."""
    for place in (b"/run", b"/dev/shm"):
        invoke("mount", b"tmpfs", place, b"tmpfs", MS.NOSUID, b"mode=755,size=16m")
    directory = Path("/run/bundle")
    directory.mkdir()
    Path("/run/isoproof").mkdir(0o700)
    config = everything(directory, kind)
    try:
        with agent() if kind == "rare" else contextlib.nullcontext():
            yield directory, config
    finally:
        shutil.rmtree(directory)


def places_in(wanted: Plan) -> list[tuple[str, int]]:
    return [(part, index) for part in PARTS for index in range(len(getattr(wanted, part)))]


def described(directory: Path, config: Config) -> tuple[list[tuple[str, int]], Plan]:
    wanted = plan(config, inspect.host(config, directory))
    return places_in(wanted), wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_of_everything_can_start(kind: str) -> None:
    def play() -> tuple[int, set[str]]:
        with stage(kind) as (directory, config):
            null = os.open("/dev/null", os.O_RDWR)
            config["process"]["args"] = ["/bin/true"]
            names = {step.name for part in PARTS for step in getattr(described(directory, config)[1], part)}
            return run(config, directory, (null, null, null), 20.0), names

    status, names = in_throwaway(play)
    assert status == 0
    names = {name.partition(":")[0] for name in names}
    assert names >= set("above-cgroup cgroup limit join time-offsets sysctl seccomp oom-score rlimits meet".split())
    assert names >= OWN_STEPS[kind]


OWN_STEPS = {
    "joined": {"enter", "undumpable"},
    "mapped": {"uid-map", "mapped-ids", "open-devices"},
    "rare": {"terminal", "console", "veth", "cable", "listener", "landlock", "idmap", "memory-policy"},
}


def failed_after(directory: Path, config: Config, part: str, index: int) -> str:
    """Have a start fail after a step; return what was wrong with that."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        run(config, directory, (null, null, null), 20.0, alter=lambda made: failing_at(made, part, index))
    except StartError as error:
        return "" if error.number == errno.ENOENT else str(error)
    finally:
        os.close(null)
    return "it did not fail"


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_step_fails_nothing_stays_behind(kind: str) -> None:
    def play() -> list[str]:
        wrong = []
        with stage(kind) as (directory, config):
            places, wanted = described(directory, config)
            before = snapshot(directory, config)
            for part, index in places:
                name = f"{part} {getattr(wanted, part)[index].name}"
                problem = failed_after(directory, config, part, index)
                wrong += [f"{name}: {problem}"] if problem else []
                wrong += [f"{name}: {difference}" for difference in settled(directory, config, before)]
        return wrong

    assert in_throwaway(play) == []


def stopping_after(wanted: Plan, part: str, index: int, streams: tuple[int, int]) -> Plan:
    """Return the plan with a rendezvous after one step: it says that it is there, and waits to be let go."""
    steps: list[Step] = list(getattr(wanted, part))
    if steps[index].name == "execute":
        return wanted  # the program itself says so
    reader, writer = streams
    calls: tuple[Call, ...] = (Call("write", (writer, ".", 1)), Call("read", (reader, Packed(b"\0", "a byte"), 1)))
    if part == "steps":  # where the standard streams may be a terminal's by now
        calls = 2 * (Call("read", (CHANNEL, Packed(bytes(MARK), "at most the byte to go on"), MARK)),)
    steps[index] = replace(steps[index], calls=(*steps[index].calls, *calls))
    changed: dict[str, Any] = {part: tuple(steps)}
    return replace(wanted, **changed)


def arrives(output: int) -> bool:
    """Return whether a start comes so far as to say that it is there, or waits for what does not come."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if select.select([output], [], [], 0.001)[0]:
            return os.read(output, 1) == b"."
        if any(waits(pid) for pid in os.listdir("/proc") if pid.isdigit()):
            return True
    return False


def waits(pid: str) -> bool:
    with contextlib.suppress(OSError):
        call, *arguments = Path("/proc", pid, "syscall").read_text().split()
        return call == str(number("read")) and (arguments[0], arguments[2]) == (hex(CHANNEL), hex(MARK))
    return False


def stopping_in(meeting: str) -> Callable[[Plan, tuple[int, int]], Plan]:
    """Return what makes a plan's launcher come to a meeting and stay there."""

    def stop(wanted: Plan, streams: tuple[int, int]) -> Plan:
        def stay(_pid: int, _descriptors: list[int]) -> None:
            os.write(streams[1], b".")
            os.read(streams[0], 1)

        return replace(wanted, meetings={**wanted.meetings, meeting: stay})

    return stop


def killed_after(directory: Path, config: Config, part: str, index: int, others: int = 0) -> str:
    """Have a launcher killed after a step of its start; return what was wrong with that."""
    return killed(directory, config, lambda made, streams: stopping_after(made, part, index, streams), others)


def killed(directory: Path, config: Config, stopping: Callable[[Plan, tuple[int, int]], Plan], others: int = 0) -> str:
    """Have a launcher killed where its plan stops; return what was wrong with that."""
    stdin, go = os.pipe()
    arrived, stdout = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        os.close(go)
        os.close(arrived)
        with contextlib.suppress(StartError):
            run(
                config,
                directory,
                (stdin, stdout, stdout),
                20.0,
                alter=lambda made: stopping(made, (stdin, stdout)),
            )
        os._exit(0)
    os.close(stdin)
    os.close(stdout)
    there = arrives(arrived)
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    os.close(go)
    os.close(arrived)
    if not there:
        return "it has not come so far"
    return "" if orphans_end(others) else "a process outlives its launcher"


def orphans_end(others: int = 0) -> bool:
    """Reap, as PID 1 of the throwaway, all that the launcher has left; return whether they were over in time.

    `others` is how many children of its own it has.
    """
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if len(Path("/proc/self/task/1/children").read_text().split()) == others:
            return True
        time.sleep(0.001)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_after_whatever_step_the_launcher_is_killed_doctor_clean_finds_all(kind: str) -> None:
    def play() -> tuple[list[str], list[str]]:
        wrong, said = [], []
        with stage(kind) as (directory, config):
            places, wanted = described(directory, config)
            before = snapshot(directory, config)
            for part, index in places:
                name = f"{part} {getattr(wanted, part)[index].name}"
                problem = killed_after(directory, config, part, index, others=kind == "rare")
                wrong += [f"{name}: {problem}"] if problem else []
                said += [f"{name}: {line.strip()}" for line in leftovers.remove()]
                wrong += [f"{name}: {difference}" for difference in settled(directory, config, before)]
        return wrong, said

    wrong, said = in_throwaway(play)
    assert wrong == []
    assert not [line for line in said if ": left" in line or ": kept" in line]
    assert any("steps execute: removed /made/on/the/way in /run/bundle/rootfs" in line for line in said)
    assert any("steps execute: removed cgroup " in line for line in said)


def test_in_whatever_meeting_the_launcher_is_killed_doctor_clean_finds_all() -> None:
    def play() -> tuple[list[str], set[str]]:
        wrong = []
        with stage("rare") as (directory, config):
            steps = described(directory, config)[1].steps
            meetings = {step.name.partition(":")[2] for step in steps if step.name.startswith("meet:")}
            before = snapshot(directory, config)
            for meeting in meetings:
                problem = killed(directory, config, stopping_in(meeting), others=1)
                wrong += [f"{meeting}: {problem}"] if problem else []
                list(leftovers.remove())
                wrong += [f"{meeting}: {difference}" for difference in settled(directory, config, before)]
        return wrong, meetings

    assert in_throwaway(play) == ([], {"terminal", "seccomp", "hooks"})


def test_what_copies_output_to_a_file_ends_with_the_container_of_a_killed_launcher() -> None:
    def play() -> tuple[bool, list[str]]:
        with stage("joined") as (directory, config):
            before = snapshot(directory, config)
            null, file = os.open("/dev/null", os.O_RDONLY), os.open("/run/log", os.O_CREAT | os.O_RDWR)
            launcher = os.fork()
            if launcher == 0:
                run(config, directory, (null, file, file), 20.0)
                os._exit(0)
            end = time.monotonic() + PATIENCE
            while not os.path.getsize("/run/log") and time.monotonic() < end:
                time.sleep(0.001)
            os.kill(launcher, signal.SIGKILL)
            ended = orphans_end()
            list(leftovers.remove())
            os.close(null)
            os.close(file)
            os.unlink("/run/log")
            return ended, settled(directory, config, before)

    assert in_throwaway(play) == (True, [])


def test_what_a_living_launcher_owns_is_left_alone_and_so_is_the_root_that_it_uses(tmp_path: Path) -> None:
    def play() -> tuple[list[str], list[str], list[str], bool]:
        with stage("joined") as (directory, config):
            stdin, go = os.pipe()
            arrived, stdout = os.pipe()
            rootfs = str(directory / "rootfs")
            launcher = os.fork()
            if launcher == 0:
                os.close(go)
                run(config, directory, (stdin, stdout, stdout), 20.0)
                os._exit(0)
            assert os.read(arrived, 1) == b"."
            Path("/run/isoproof/dead.json").write_text(
                json.dumps({"rootfs": rootfs, "places": ["/made", "/made/file"], "cgroups": [], "above": []})
            )
            Path("/run/isoproof/unfinished.json").write_text('{"rootfs": "/ru')
            first, again = list(leftovers.remove()), list(leftovers.remove())
            untouched = Path(rootfs, "made/file").exists()
            os.kill(launcher, signal.SIGKILL)
            os.waitpid(launcher, 0)
            assert orphans_end()
            return first, again, list(leftovers.remove()), untouched and not Path(rootfs, "made").exists()

    first, again, last, fine = in_throwaway(play)
    kept = "  left /made, /made/file in /run/bundle/rootfs: another container runs in it"
    assert first == [
        "/run/isoproof/dead.json: the launcher has ended",
        kept,
        "/run/isoproof/unfinished.json: the launcher has ended",
    ]
    assert again == first[:2]
    assert fine
    assert [line for line in last if "cgroup" in line]


def test_a_cgroup_that_was_there_before_is_nobodys_leftover() -> None:
    def play() -> tuple[list[str], bool, bool]:
        with stage("joined") as (directory, config):
            path = config["linux"]["cgroupsPath"]
            there = [Path(hierarchy.parent, path) for hierarchy in inspect.hierarchies(set())]
            for cgroup in there:
                cgroup.mkdir(parents=True)
            resident = os.fork()
            if resident == 0:
                signal.pause()
            pids = next(cgroup for cgroup in there if (cgroup / "pids.max").exists() or (cgroup / "tasks").exists())
            (pids / "cgroup.procs").write_text(str(resident))
            wanted = plan(config, inspect.host(config, directory))
            problem = killed_after(directory, config, "steps", len(wanted.steps) - 1, others=1)
            said = [line for line in leftovers.remove() if "cgroup" in line]
            untouched = all(cgroup.is_dir() for cgroup in there) and not os.waitpid(resident, os.WNOHANG)[0]
            os.kill(resident, signal.SIGKILL)
            os.waitpid(resident, 0)
            for cgroup in there:
                cgroup.rmdir()
                cgroup.parent.rmdir()
            return said, untouched, not problem

    assert in_throwaway(play) == ([], True, True)


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "isoproof"
    folder.mkdir(0o777)
    folder.chmod(0o777)
    monkeypatch.setattr(leftovers, "folders", lambda: [folder, tmp_path / "own"])
    record = leftovers.Record("/nowhere", [], [], [])
    with leftovers.recorded("name", record):
        assert os.listdir(folder) == []
        assert os.listdir(tmp_path / "own") == ["name.json"]
        assert list(leftovers.remove()) == []  # it lives
    assert os.listdir(tmp_path / "own") == []


def test_without_a_folder_a_container_starts_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "folders", lambda: [tmp_path / "is/not/there"])
    with leftovers.recorded("name", leftovers.Record("/nowhere", [], [], [])):
        assert list(leftovers.remove()) == []
