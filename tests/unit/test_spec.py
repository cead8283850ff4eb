"""The config that everything begins with, as far as it depends on the machine."""

from pathlib import Path

import pytest

from harness.runtime import spec


def test_a_machine_that_shows_no_processors_has_the_usual_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec, "CPUS", str(tmp_path / "none"))
    assert spec.example(0, 0)["linux"]["maskedPaths"] == list(spec.MASKED)


def test_processors_that_tell_their_heat_are_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "CPUS", str(tmp_path))
    for name in ("cpu0/thermal_throttle", "cpu1/thermal_throttle", "cpu2/topology", "cpufreq"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "online").touch()
    masked = spec.example(0, 0)["linux"]["maskedPaths"]
    assert set(masked) - set(spec.MASKED) == {f"{tmp_path}/cpu{number}/thermal_throttle" for number in (0, 1)}
