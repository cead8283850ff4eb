"""What is at hand before the first run: runtimes that are served once in a sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import facilities
from harness.errors import HarnessError

Tries = list[Path]


@pytest.fixture
def tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tries]:
    """The directories in which two runtimes have been served, `daemon` and `broken`."""
    tries: Tries = []

    class StandIn:
        def __init__(self, name: str) -> None:
            self.name = name

        def serve(self, directory: Path) -> None:
            tries.append(directory)
            if self.name == "broken":
                raise HarnessError("start dockerd: it does not answer")

    monkeypatch.setattr(facilities, "WORK", str(tmp_path))
    monkeypatch.setattr(facilities, "load", StandIn)
    facilities._served.cache_clear()
    yield tries
    facilities._served.cache_clear()


def test_a_runtime_is_served_once_in_a_directory_of_its_own(tries: Tries) -> None:
    assert facilities.served("daemon") is facilities.served("daemon")
    facilities.served("daemon:rootless")
    assert len(tries) == len(set(tries)) == 2


def test_one_that_cannot_be_served_says_so_every_time_and_is_not_tried_again(tries: Tries) -> None:
    for _ in range(2):
        with pytest.raises(HarnessError, match=r"^start dockerd: it does not answer$"):
            facilities.served("broken")
    assert len(tries) == 1
