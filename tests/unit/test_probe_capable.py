"""The acts that take a capability each."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "probes"))  # as the runner does

import capable


def test_an_act_that_a_setting_of_the_machine_decides_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian has 3 as kernel.perf_event_paranoid and Ubuntu 4: there CAP_PERFMON is not what lets anybody pass."""
    monkeypatch.setattr(capable, "ACTS", {"PERFMON": capable.ACTS["PERFMON"]})
    monkeypatch.setattr(capable, "_setting", lambda name: 3)
    assert capable.observe(os.getpid()) == {"able": ["CAP_KILL"], "refused": {}, "absent": ["CAP_PERFMON"]}
