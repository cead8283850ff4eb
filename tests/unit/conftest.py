"""What tests of scenario files share: a place for one, and probes of their own."""

from pathlib import Path

import pytest

from harness import scenario


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
