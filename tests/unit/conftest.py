"""What tests of scenario files and of stored results share: a place for one, and probes of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import scenario
from harness.results import Results, to_json


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five probes of our own, so that nothing here depends on which the project has."""
    folder = tmp_path / "probes"
    folder.mkdir()
    for name in ("identity", "mounts", "signal", "watch", "init", "_kernel"):
        (folder / f"{name}.py").touch()
    monkeypatch.setattr(scenario, "PROBES", folder)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probes: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("a.yaml")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Results], Path]:
    """Store a run in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def stored(name: str, results: Results) -> Path:
        Path(name).write_text(to_json(results))
        return Path(name)

    return stored
