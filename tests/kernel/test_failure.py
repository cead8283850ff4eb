"""Nothing stays behind: whatever step of a start fails, and after whatever step its launcher is killed.

A plan that uses every feature is broken after each of its steps in turn. The host, here a throwaway one, is compared
before and after: mounts, cgroups, processes, namespaces, interfaces, keys, IPC objects and files.
"""

import contextlib
import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness.runtime import folders, inspect, leftovers
from harness.runtime.config import Config
from harness.runtime.errors import StartError
from harness.runtime.launch import prepared, run
from harness.runtime.plan import plan
from harness.runtime.step import CHANNEL, Call, Packed, Plan, Step
from harness.runtime.syscalls import number
from tests.kernel.everything import KINDS, PATIENCE, settled, snapshot, stage
from tests.kernel.test_launch import failing_at
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

PARTS = ("before", "enter", "between", "steps", "after")
MARK = 7  # bytes that a stopped step waits for, by which it is recognized


def places_in(wanted: Plan) -> list[tuple[str, int]]:
    return [(part, index) for part in PARTS for index in range(len(getattr(wanted, part)))]


def described(directory: Path, config: Config) -> tuple[list[tuple[str, int]], Plan]:
    wanted = plan(config, inspect.host(config, directory))
    return places_in(wanted), wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_of_everything_can_start(kind: str) -> None:
    def play() -> tuple[int, bool, set[str]]:
        with stage(kind) as (directory, config):
            null = os.open("/dev/null", os.O_RDWR)
            config["process"]["args"] = ["/bin/true"]
            with prepared(config, directory) as container:
                replayed = container.child is not None
            names = {step.name for part in PARTS for step in getattr(described(directory, config)[1], part)}
            return run(config, directory, (null, null, null), 20.0), replayed, names

    status, replayed, names = in_throwaway(play)
    assert (status, replayed) == (0, kind == "replayed")
    names = {name.partition(":")[0] for name in names}
    assert names >= set("above-cgroup cgroup limit join sysctl seccomp oom-score rlimits".split())
    assert names >= OWN_STEPS[kind]


OWN_STEPS = {
    "joined": {"enter", "undumpable", "time-offsets", "meet"},
    "mapped": {"uid-map", "mapped-ids", "open-devices", "time-offsets", "meet"},
    "rare": {"terminal", "console", "veth", "cable", "listener", "landlock", "idmap", "memory-policy", "meet"},
    "replayed": {"landlock", "memory-policy", "mask", "program"},
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


def test_a_cpuset_that_was_there_before_keeps_its_cpus() -> None:
    def play() -> tuple[int, list[str]]:
        with stage("joined") as (directory, config):
            name = config["linux"]["cgroupsPath"]
            config["process"]["args"] = ["/bin/true"]
            config["linux"]["resources"] = {"cpu": {"mems": "0"}}
            (parent,) = [one.parent for one in inspect.hierarchies(set()) if one.cpus]
            for cgroup in (Path(parent, name).parent, Path(parent, name)):
                cgroup.mkdir()
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (cgroup / file).write_text("0")
            null = os.open("/dev/null", os.O_RDWR)
            status = run(config, directory, (null, null, null), 20.0)
            cpus = [Path(path, "cpuset.cpus").read_text() for path in (Path(parent, name).parent, Path(parent, name))]
            Path(parent, name).rmdir()
            Path(parent, name).parent.rmdir()
            return status, cpus

    if not any(hierarchy.cpus not in ("", "0") for hierarchy in inspect.hierarchies(set())):
        pytest.skip("no version 1 cpuset with more CPUs than one")
    assert in_throwaway(play) == (0, ["0\n", "0\n"])


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "isoproof"
    folder.mkdir(0o777)
    folder.chmod(0o777)
    monkeypatch.setattr(folders, "folders", lambda: [str(folder), str(tmp_path / "own")])
    record = leftovers.Record("/nowhere", [], [], [])
    with leftovers.recorded("name", record):
        assert os.listdir(folder) == []
        assert os.listdir(tmp_path / "own") == ["name.json"]
        assert list(leftovers.remove()) == []  # it lives
    assert os.listdir(tmp_path / "own") == []


def test_without_a_folder_a_container_starts_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "is/not/there")])
    with leftovers.recorded("name", leftovers.Record("/nowhere", [], [], [])):
        assert list(leftovers.remove()) == []


def test_what_is_around_the_leftovers_of_others_goes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever record comes first: the cgroup around them all is that of the first container, or of one below it."""
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    around, inner = tmp_path / "around", tmp_path / "around/inner"
    for cgroup in ("first", "second", "inner/third"):
        (around / cgroup).mkdir(parents=True)
    for name, own, above in (("1", "first", [around]), ("2", "second", []), ("3", "inner/third", [inner])):
        record = leftovers.Record("/nowhere", [], [str(around / own)], list(map(str, above)))
        kept = folders.create(f"{name}.json", json.dumps(asdict(record)).encode())
        assert kept
        os.close(kept[1])
    said = list(leftovers.remove())
    assert not [line for line in said if line.strip().startswith("left")]
    assert not around.exists()
    assert os.listdir(tmp_path / "records") == []
