"""The benchmark with real runtimes, for a few rounds: it tells of all, and leaves nothing behind."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness import floor
from harness.bench import others, own, runtimes
from harness.bench.contenders import NAME
from harness.bench.record import recorded
from harness.bench.runtimes import Maker
from harness.bench.series import Benchmark, Settings, from_json
from harness.runtime.folders import folders
from tests.kernel.bundles import snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

SHARED = ("/etc/docker", "/run/docker", "/run/containerd", "/run/libpod", "/run/lxc", "/run/systemd/nspawn/propagate/*")
Missing = Callable[[str], NoReturn]


def traces() -> dict[str, Any]:
    """Return what the contenders could leave behind on this host."""
    cgroups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if NAME in path]
    return snapshot() | {
        "shared": sorted(str(path) for pattern in SHARED for path in Path("/").glob(pattern.lstrip("/"))),
        "named": sorted(cgroups),
        "temporary": os.listdir(tempfile.gettempdir()),
        "records": sorted(record for folder in folders() for record in Path(folder).glob("*.json") if ours(record)),
        "plans": {plan for folder in folders() for plan in Path(folder).glob("plan-*")},
        "signal": signal.getsignal(signal.SIGINT),
    }


def ours(record: Path) -> bool:
    """Return whether this is a launcher's record of a container that takes part in a benchmark."""
    try:
        return "/isoproof-bench-" in record.read_text()
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert tmp_path.exists()  # pytest's own folder is there before the one that is watched
    with tempfile.TemporaryDirectory() as directory:  # a short name, for there will be sockets in it
        os.chmod(directory, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        before = traces()
        yield
        after = traces()
        assert after.pop("plans") <= before.pop("plans")  # of many, a new one replaces the oldest
        assert after == before


def measured(directory: Path, rounds: int, makers: Sequence[Maker] = runtimes.CONTENDERS) -> Benchmark:
    settings = Settings(rounds, gap_ms=0, warmup=1)
    with recorded(directory, settings) as found, runtimes.contest(settings, lambda text: None, makers) as contest:
        found.contenders = contest.told
        contest.turns.all_rounds()
        found.sections[runtimes.NAME] = contest.section()
    return from_json((directory / "benchmark.json").read_bytes())


def test_a_short_benchmark_is_whole(tmp_path: Path) -> None:
    makers: list[Maker] = [own.Builtin, own.Forked, own.PosixSpawn, own.python]
    makers += [own.isoproof_run] if Path(sys.executable).with_name("isoproof").exists() else []
    makers += [others.runc] if shutil.which("runc") else []
    makers += [own.Floor, own.Pooled] if floor.compiler() and os.geteuid() == 0 else []
    found = measured(tmp_path, 3, makers)
    assert len(found.contenders) == len(makers)
    for name, series in found.sections["runtimes"].series.items():
        assert not series.failures, name
        assert not found.contenders[name].absent, name
        assert found.contenders[name].version, name
        clean, first = series.values("clean"), series.values("first")
        assert len(clean) == len(series.values("cpu")) == 3, name
        assert first == [] if name == "python" else all(one < other for one, other in zip(first, clean, strict=True))
    assert "| builtin " in (tmp_path / "benchmark.md").read_text()


def test_memory_is_that_of_the_command_and_not_of_who_starts_it(tmp_path: Path) -> None:
    found = measured(tmp_path, 1, (own.python, others.unshare)).sections["runtimes"].series
    python, unshare = (found[name].values("memory")[0] for name in ("python", "unshare"))
    starter = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    assert unshare < python < starter


def test_of_all_that_is_installed_something_is_told(tmp_path: Path) -> None:
    found = measured(tmp_path, 1)
    assert len(found.contenders) == len(runtimes.CONTENDERS)
    series = found.sections["runtimes"].series
    for name, contender in found.contenders.items():
        assert contender.absent or series[name].rounds, name
        assert not contender.absent or name not in series
        assert contender.absent or all(reason for _, reason in series[name].failures)


def test_an_interruption_leaves_nothing(tmp_path: Path, missing: Missing) -> None:
    """The fixture is the test."""
    if not shutil.which("runc"):
        missing("runc is not installed")

    def interrupt_soon(text: str) -> None:
        if text.endswith("round 2 of 3, runc"):
            signal.setitimer(signal.ITIMER_REAL, 0.02)  # by when it is in the middle of its start

    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    settings, makers = Settings(2, gap_ms=0, warmup=1), (own.Builtin, others.runc)
    try:
        with pytest.raises(KeyboardInterrupt), runtimes.contest(settings, interrupt_soon, makers) as seen:
            seen.turns.all_rounds()
    finally:
        signal.signal(signal.SIGALRM, previous)
