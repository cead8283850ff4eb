"""A container that somebody has frozen, by either version of cgroups: it can be killed, and nothing of it stays."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from harness.runtime import folders, inspect, leftovers, members, supervise
from harness.runtime.config import Config, read
from harness.runtime.launch import Prepared, prepared, run
from tests.kernel.bundles import bundle, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

PATIENCE = 10.0  # seconds


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest, missing: Callable[[str], NoReturn]) -> int:
    """A version of cgroups by which a container can be frozen here."""
    found = inspect.hierarchies(set())
    if not any(
        each.version == request.param and (each.version == 2 or "freezer" in each.controllers) for each in found
    ):
        missing(f"no cgroup of version {request.param} freezes here")
    version: int = request.param
    return version


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No launcher has left what `isoproof doctor --clean` would find."""
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    before = snapshot()
    yield
    assert list(leftovers.remove()) == []
    assert snapshot() == before


def frozen(container: Prepared, version: int, deadline: float | None = None) -> tuple[int, int]:
    """Let a launcher run a container, and freeze it; return the launcher and the container's first process."""
    arrived, stdout = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    launcher = os.fork()
    if launcher == 0:
        os._exit(container.run((null, stdout, stdout), deadline))
    os.close(stdout)
    os.close(null)
    assert os.read(arrived, 1) == b"."
    os.close(arrived)
    paths = [Path(step.name.partition(":")[2]) for step in container.plan.before if step.name.startswith("cgroup:")]
    file = {1: "freezer.state", 2: "cgroup.freeze"}[version]
    (path,) = [path for path in paths if (path / file).exists()]
    assert members.freeze(path)
    (first,) = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return launcher, int(first)


def sleeping(directory: Path) -> tuple[Path, Config]:
    directory, config = bundle(directory, "sh", "-c", "echo .; exec sleep 600")
    config["linux"]["resources"] = {"pids": {"limit": 20}}
    return directory, read(config)


def ends(launcher: int) -> int | None:
    """Return the exit status of a launcher, or nothing where it does not end."""
    pidfd = os.pidfd_open(launcher)
    in_time = select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)
    if not in_time:
        os.kill(launcher, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(launcher, 0)[1])
    return status if in_time else None


def test_it_can_be_killed(tmp_path: Path, version: int) -> None:
    """Version 2 lets what is frozen die; with version 1 its launcher has to thaw it."""
    directory, config = sleeping(tmp_path / "bundle")
    with prepared(config, directory) as container:
        launcher, first = frozen(container, version)
        os.kill(first, signal.SIGKILL)
        assert ends(launcher) == 128 + signal.SIGKILL


def test_its_deadline_is_kept(tmp_path: Path, version: int) -> None:
    directory, config = sleeping(tmp_path / "bundle")
    with prepared(config, directory) as container:
        launcher, _ = frozen(container, version, deadline=0.5)
        assert ends(launcher) == supervise.DEADLINE_STATUS


def test_a_program_that_freezes_its_first_process_at_once_does_not_outlive_its_deadline(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has handlers to set before its launcher takes the container for started."""
    original = signal.signal

    def slow(*arguments: object) -> object:
        time.sleep(0.05)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(signal, "signal", slow)
    file, text = {1: ("freezer.state", "FROZEN"), 2: ("cgroup.freeze", "1")}[version]
    freeze = f"f=$(busybox find /sys/fs/cgroup -name {file}); echo {text} > $f; sleep 600"
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", freeze, annotations={"isoproof.init": "true"})
    config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]})
    null = os.open("/dev/null", os.O_RDWR)
    launcher = os.fork()
    if launcher == 0:
        os._exit(run(read(config), directory, (null, null, null), 0.5))
    os.close(null)
    assert ends(launcher) == supervise.DEADLINE_STATUS


def test_it_is_cleared_up_after_a_killed_launcher(tmp_path: Path, version: int) -> None:
    """With version 1 it does not die with its launcher, but is found frozen."""
    directory, config = sleeping(tmp_path / "bundle")
    launcher = os.fork()
    if launcher == 0:
        with prepared(config, directory) as container:
            launched, _ = frozen(container, version)
            os.kill(launched, signal.SIGKILL)
            os.waitpid(launched, 0)
            os.kill(os.getpid(), signal.SIGKILL)  # which has the record, too
    assert ends(launcher) == -signal.SIGKILL
    said = [line.strip() for line in leftovers.remove()]
    assert [line for line in said if line.startswith("removed cgroup")]
    assert not [line for line in said if line.startswith("left")]
