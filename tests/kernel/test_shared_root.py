"""Several containers on one root: what one has made in it stays as long as another may have mounts there."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.runtime import folders, leftovers, members
from harness.runtime.config import Config, read
from harness.runtime.errors import StartError
from harness.runtime.launch import run
from tests.kernel.bundles import bundle, output_of

pytestmark = pytest.mark.usefixtures("needs_namespaces")

PLACES = ["dev", "proc", "sys"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of the test's own for the records."""
    monkeypatch.setattr(folders, "folders", lambda: [str(tmp_path / "records")])
    return tmp_path / "records"


class Running:
    """A container that waits until it is told to look at its mounts."""

    def __init__(self, directory: Path, config: Config) -> None:
        stdin, self.go = os.pipe()
        self.output, stdout = os.pipe()
        self.launcher = os.fork()
        if self.launcher == 0:
            os.close(self.go)
            os.close(self.output)
            os._exit(run(config, directory, (stdin, stdout, stdout), 20.0))
        os.close(stdin)
        os.close(stdout)
        assert os.read(self.output, 8) == b"there\n"

    def end(self) -> str:
        """Let it look and end; return what it has seen."""
        os.write(self.go, b"\n")
        os.close(self.go)
        with os.fdopen(self.output) as pipe:
            text = pipe.read()
        os.waitpid(self.launcher, 0)
        return text

    def be_killed(self) -> None:
        os.kill(self.launcher, signal.SIGKILL)
        os.close(self.go)
        with os.fdopen(self.output) as pipe:
            pipe.read()  # until the container has ended, too
        os.waitpid(self.launcher, 0)


LOOK = "echo there; read line; ls -d /proc/self/fd /dev/null /dev/shm /sys/class"
ALL = "/dev/null\n/dev/shm\n/proc/self/fd\n/sys/class\n"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, Config]]:
    directory, config = bundle(tmp_path / "bundle", "sh", "-c", LOOK)
    before = sorted(os.listdir(directory / "rootfs"))
    yield directory, read(config)
    assert sorted(os.listdir(directory / "rootfs")) == before


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_the_end_of_one_takes_nothing_from_the_others(
    root: tuple[Path, Config], folder: Path, order: tuple[int, int, int]
) -> None:
    containers = [Running(*root) for _ in range(3)]
    for index in order:
        assert containers[index].end() == ALL
    assert os.listdir(folder) == []


def test_what_is_left_to_one_that_is_killed_is_found(root: tuple[Path, Config], folder: Path) -> None:
    first, second = Running(*root), Running(*root)
    assert first.end() == ALL
    (name,) = [name for name in os.listdir(folder) if name.startswith("places-")]
    said = list(leftovers.remove())
    assert said[0] == f"{folder / name}: the launcher has ended"
    assert "another container runs in it" in said[1]
    second.be_killed()
    said = list(leftovers.remove())
    assert [f"  removed /{place} in {root[0]}/rootfs" in said for place in PLACES] == [True] * 3
    assert os.listdir(folder) == []


def test_what_somebody_else_has_written_about_a_root_is_not_believed(root: tuple[Path, Config], folder: Path) -> None:
    directory, config = root
    (directory / "rootfs/empty").mkdir()
    found = (directory / "rootfs").stat()
    folder.mkdir()
    folder.chmod(0o777)
    record = leftovers.Record(str(directory / "rootfs"), ["/empty"], [], [])
    (folder / f"places-{found.st_dev:x}-{found.st_ino:x}.json").write_text(json.dumps(asdict(record)))
    assert output_of(directory, config)[0] == 0
    (directory / "rootfs/empty").rmdir()


def test_a_root_that_somebody_keeps_locked_is_an_error_in_the_end(
    root: tuple[Path, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "PATIENCE", 0.05)
    directory, config = root
    descriptor = os.open(directory / "rootfs", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(StartError, match=r"lock .*/rootfs: EWOULDBLOCK; .*lslocks"):
        output_of(directory, config)
    os.close(descriptor)
