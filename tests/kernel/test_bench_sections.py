"""The sections of the benchmark with a few rounds each: what they hold, and that nothing of them is left."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.bench import (
    alive,
    concurrency,
    features,
    launcher_process,
    launcher_size,
    namespaces,
    orphans,
    phases,
    pool,
)
from harness.bench.alive import Sleepers
from harness.bench.contenders import Place, place
from harness.bench.launcher import Launcher
from harness.bench.sections import SECTIONS
from harness.bench.series import Section, Settings
from harness.bench.starts import NOT_REPLAYED
from harness.errors import HarnessError, StartError
from harness.runtime import folders, launch
from harness.runtime.config import read
from harness.runtime.modules import landlock_version
from tests.kernel.bundles import snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

FEW = Settings(rounds=2, gap_ms=0, warmup=1)
PATIENCE = 20.0  # seconds that a killed process gets to be gone


def silent(_text: str) -> None:
    """Say nothing."""


def orphaned() -> set[str]:
    """Return what launchers that are no more have left: cgroups, and records of what they made."""
    paths = [path for path, _, _ in os.walk("/sys/fs/cgroup")]
    paths += [str(path) for folder in folders.folders() for path in Path(folder).glob("*.json")]
    named = {path: re.search(r"isoproof-(\d+)-", path) for path in paths}
    return {path for path, found in named.items() if found and not Path("/proc", found[1]).exists()}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before, around = orphaned(), snapshot()
    yield
    assert orphaned() <= before
    assert snapshot() == around
    assert not [name for name in os.listdir("/sys/class/net") if name == f"bench{os.getpid()}"]


@pytest.fixture
def made() -> Iterator[Place]:
    with place() as found:
        yield found


def measured(section: Section, *labels: str) -> None:
    """Hold a section to its labels, and all their rounds to have gone well."""
    assert list(section.series) == list(labels)
    for label, series in section.series.items():
        assert series.failures == [], label
        assert len(series.rounds) == FEW.rounds, label
        assert all(seen and seen.first for seen in series.rounds), label


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("pooled", [False, True], ids=["on demand", "pooled"])
def test_every_step_of_the_plan_has_its_phase_and_all_are_the_whole(made: Place, pooled: bool) -> None:
    taken: list[phases.Phases] = []
    with launch.prepared(read(made.config), made.bundle, pooled=pooled) as container:
        with phases.clocked(container, taken) as start:
            rounds = [start() for _ in range(3)]
        names = [step.name for step in phases.walked(container).steps]
        assert "loopback" in [step.name for step in container.plan.steps]
        assert ("loopback" in names) is not pooled
    for seen, found in zip(rounds, taken, strict=True):
        assert list(found) == ["request to clone", "clone", *names[:-1], "execve to first instruction"]
        assert sum(found.values()) == seen.first
        assert all(duration > 0 for duration in found.values()), "the clock was not read in this order"


@pytest.mark.usefixtures("needs_root")
def test_the_phases_of_a_start_are_a_section(made: Place) -> None:
    with launch.prepared(read(made.config), made.bundle) as container:
        labels = phases.labels(container.plan)
        assert container.child
        assert not [step for step, _ in container.child.table.calls if step.name.startswith(phases.STAMP)]
    section = phases.on_demand(silent, FEW)
    measured(section, *labels, phases.WHOLE)
    assert len(section.words) == 2
    pooled = phases.pooled(silent, FEW)
    assert "enter-ready" in pooled.series
    assert len(pooled.series) < len(section.series)


@pytest.mark.usefixtures("needs_root")
def test_a_clocked_start_that_fails_is_told_and_the_next_one_works(made: Place) -> None:
    taken: list[phases.Phases] = []
    clock = made.bundle / "rootfs/clock"
    with launch.prepared(read(made.config), made.bundle) as container, phases.clocked(container, taken) as start:
        start()
        clock.rename(made.directory / "away")
        with pytest.raises(StartError, match="ENOENT"):
            start()
        (made.directory / "away").rename(clock)
        start()
    assert len(taken) == 2


@pytest.mark.usefixtures("needs_root")
def test_each_namespace_is_a_series() -> None:
    section = namespaces.section(silent, FEW)
    measured(section, *namespaces.variants())


@pytest.mark.usefixtures("needs_root")
def test_each_feature_is_a_series_and_says_who_starts_it(made: Place, missing: Callable[[str], NoReturn]) -> None:
    if not landlock_version():
        missing("Landlock is not active here")
    section = features.section(silent, FEW)
    assert section.words == features.WORDS
    names = [features.DEFAULT] * 3 + list(features.changes(made.config))
    executors = ["replay", "pooled", "forked", *["replay"] * 10, *["forked"] * 6]
    measured(section, *(f"{name} ({executor})" for name, executor in zip(names, executors, strict=True)))


@pytest.mark.usefixtures("needs_root")
def test_what_cannot_be_had_here_is_told_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "changes", lambda _: {"with a mistake": {"hostname": 5}})
    section = features.section(silent, FEW)
    assert [label for label in section.series if "mistake" in label] == []
    assert len(section.series) == 3
    assert section.words[-1].startswith("Not measured, with a mistake: config.json: hostname")


@pytest.mark.usefixtures("needs_root")
def test_the_pool_is_measured_with_and_without_and_so_is_its_fill() -> None:
    section = pool.section(silent, FEW)
    measured(section, "on demand", "pooled", "fill")
    assert section.series["fill"].summary("clean") is None


@pytest.mark.usefixtures("needs_root")
def test_what_was_filled_to_be_timed_serves_nobody(made: Place) -> None:
    with launch.prepared(read(made.config), made.bundle, pooled=True) as container:
        assert container.pool
        descriptors = os.listdir("/proc/self/fd")
        pool.filling(container.pool)()
        assert container.pool.take() is None
        assert os.listdir("/proc/self/fd") == descriptors


@pytest.mark.usefixtures("needs_root")
def test_launchers_of_several_sizes_start_by_both_executors() -> None:
    section = launcher_size.section(silent, FEW, sizes=(1, 3))
    measured(section, *(f"{executor}, {size} MB more" for size in (1, 3) for executor in ("replay", "forked")))


def test_a_launcher_is_as_large_as_asked_for() -> None:
    with Launcher(40) as asked:
        with pytest.raises(HarnessError, match="nothing is known of"):
            asked.ask(dance=True)  # but now it is there
        (pid,) = orphans.children()
        assert memory_of(pid) > 40 << 10


def memory_of(pid: int) -> int:
    """Return how much of its memory is no file's, in KiB: a fork copies no other page tables. proc_pid_smaps(5)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (found,) = re.findall(r"^Anonymous: +(\d+) kB$", text, re.MULTILINE)
    return int(found)


@pytest.mark.usefixtures("needs_root")
def test_batches_of_several_sizes_are_started_by_all_who_are_there() -> None:
    section = concurrency.section(silent, FEW, counts=(1, 3))
    assert {"builtin, 1 at once", "builtin, 3 at once"} <= set(section.series)
    told = " ".join(section.words)
    for name in ("unshare", "bubblewrap", "crun", "runc"):
        assert (f"{name}, 3 at once" in section.series) is not (f"Not measured, {name}:" in told)
    measured(section, *section.series)


def test_a_command_that_fails_among_several_is_told_in_its_own_words(made: Place) -> None:
    clock = str(made.bundle / "rootfs/clock")
    with Launcher() as asked:
        with pytest.raises(HarnessError, match=r"^broken$"):
            asked.ask(spawn=[[clock], ["sh", "-c", "echo fine >&2; echo broken >&2; exit 3"], [clock]])
        with pytest.raises(HarnessError, match=r"^1 of 2 have failed$"):
            asked.ask(spawn=[[clock], ["false"]])
        with pytest.raises(HarnessError, match="no-such-program"):
            asked.ask(spawn=[[clock], ["/no-such-program"]])
        for mistaken in ("true", "$0; $0"):
            with pytest.raises(HarnessError, match=r"^not each has told one time$"):
                asked.ask(spawn=[["sh", "-c", script, clock] for script in ("exec $0", mistaken)])
        answer = asked.ask(spawn=[[clock]] * 3)
    assert len(answer["moments"]) == 3
    assert answer["requested"] < min(answer["moments"])
    assert max(answer["moments"]) < answer["ended"]


def test_commands_that_do_not_end_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_process, "DEADLINE", 0.1)
    with pytest.raises(HarnessError, match="has not ended in time"):
        launcher_process.spawn([["sleep", "1000"], ["sleep", "1000"]])
    assert orphans.children() == set()


@pytest.fixture
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for the kernel."""
    monkeypatch.setattr(alive, "SETTLE", 0)


@pytest.mark.usefixtures("needs_root", "_settled")
def test_starts_among_sleepers_are_measured_on_both_ways() -> None:
    section = alive.section(silent, FEW, levels=(0, 5))
    names = [name for name in ("builtin", "unshare") if f"{name}, 0 alive" in section.series]
    assert names[0] == "builtin"
    measured(section, *(f"{name}, {level} alive" for level in (0, 5) for name in names))
    told = " ".join(section.words)
    assert "To kill and reap 5 sleepers took" in told
    assert "KiB less memory" in told


@pytest.mark.usefixtures("needs_root", "_settled")
def test_where_so_many_cannot_be_had_that_is_told_and_the_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    become = Sleepers.become

    def limited(sleepers: Sleepers, wanted: int) -> None:
        if wanted > 3:
            raise HarnessError("clone: EAGAIN")
        become(sleepers, wanted)

    monkeypatch.setattr(Sleepers, "become", limited)
    section = alive.section(silent, FEW, levels=(0, 2, 4, 6))
    assert {label.partition(", ")[2] for label in section.series} == {"0 alive", "2 alive"}
    assert [words for words in section.words if "Not measured with" in words] == [
        "Not measured with 4 alive: clone: EAGAIN"
    ]


@pytest.mark.usefixtures("_settled")
def test_where_only_some_of_so_many_can_be_had_none_of_these_stays(
    made: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alive, "STEP", 2)
    ask = Launcher.ask

    def limited(asked: Launcher, **request: Any) -> dict[str, Any]:
        if request.get("alive", 0) > 5:
            raise HarnessError("clone: EAGAIN")
        return ask(asked, **request)

    with Launcher() as asked:
        (pid,) = orphans.children()
        sleepers = Sleepers(asked, made, silent)
        sleepers.become(1)
        monkeypatch.setattr(Launcher, "ask", limited)
        with pytest.raises(HarnessError, match="EAGAIN"):
            sleepers.become(9)
        assert len(sleeping(pid)) == 1


def sleeping(asked: int) -> set[int]:
    """Return the containers of a launcher that run the program that sleeps."""
    children = Path(f"/proc/{asked}/task/{asked}/children").read_text().split()
    return {int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "pause\n"}


def gone(pids: set[int]) -> bool:
    """Wait until processes are gone; return whether they are."""
    end = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        os.sched_yield()
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.usefixtures("_settled")
def test_there_are_as_many_sleepers_as_wanted_and_none_in_the_end(made: Place) -> None:
    with Launcher() as asked:
        (pid,) = orphans.children()
        sleepers = Sleepers(asked, made, silent)
        seen = []
        for wanted in (2, 5, 3, 0, 4):
            sleepers.become(wanted)
            seen.append(sleeping(pid))
        assert [len(found) for found in seen] == [2, 5, 3, 0, 4]
        assert seen[0] < seen[1]
        assert seen[2] < seen[1]
    assert gone(set.union(*seen))
    assert (sleepers.started, sleepers.ended) == (9, 5)


@pytest.mark.usefixtures("_settled")
def test_whoever_is_interrupted_ends_the_sleepers(made: Place) -> None:
    seen: set[int] = set()

    def interrupted() -> None:
        with Launcher() as asked:
            (pid,) = orphans.children()
            Sleepers(asked, made, silent).become(3)
            seen.update(sleeping(pid))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(seen) == 3
    assert gone(seen)


@pytest.mark.usefixtures("_settled")
def test_sleepers_die_with_a_launcher_that_is_killed_and_that_is_told(made: Place) -> None:
    with Launcher() as asked:
        (pid,) = orphans.children()
        sleepers = Sleepers(asked, made, silent)
        sleepers.become(3)
        seen = sleeping(pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(HarnessError, match="has ended"):
            sleepers.become(4)
        for folder in folders.folders():  # for `isoproof doctor --clean`, as of any launcher that was killed
            for record in Path(folder).glob(f"isoproof-{pid}-*.json"):
                record.unlink()
    assert len(seen) == 3
    assert gone(seen)


def test_an_ordinary_user_is_told_what_is_not_measured() -> None:
    if os.geteuid() == 0:
        pytest.skip("root: for whom all is measured")
    for name in ("phases", "phases-pooled", "namespaces", "pool"):
        section = SECTIONS[name](silent)
        assert section.words == [NOT_REPLAYED]
        assert section.series == {}
    section = features.section(silent, FEW)
    assert f"{features.DEFAULT} (forked)" in section.series
    section = concurrency.section(silent, FEW, counts=(2,))
    assert "Not measured, builtin: no start is replayed, and threads cannot fork" in section.words
