"""Our own runtime as a backend: which executor runs a plan, and that a sabotage reaches either."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import backends, shapes
from harness.backends.builtin import Builtin
from harness.errors import BadInput
from harness.runtime import launch
from harness.runtime.launch import Alteration
from harness.runtime.step import Plan
from harness.runtime.syscalls import CLONE

PLAN = Plan(CLONE(0), ())


def plan_that_runs(runtime: str, monkeypatch: pytest.MonkeyPatch, sabotage: Alteration | None = None) -> Plan:
    """What becomes of a plan on its way through the backend."""
    altering: list[Alteration | None] = []

    def run(*arguments: Any) -> int:
        altering.append(arguments[4])
        return 0

    monkeypatch.setattr(launch, "run", run)
    backend = backends.load(runtime)
    assert isinstance(backend, Builtin)
    config: dict[str, Any] = shapes.default(0, 0)
    assert backend.run(config, Path("/nowhere"), (0, 1, 2), 1.0, sabotage).status == 0
    (alter,) = altering
    return alter(PLAN) if alter else PLAN


@pytest.mark.parametrize(("runtime", "replayed"), [("builtin", True), ("builtin:forked", False)])
def test_an_option_says_which_executor_runs_the_plan(
    runtime: str, replayed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plan_that_runs(runtime, monkeypatch) == replace(PLAN, replay=replayed)
    sabotaged = plan_that_runs(runtime, monkeypatch, lambda plan: replace(plan, into="/elsewhere"))
    assert sabotaged == replace(PLAN, replay=replayed, into="/elsewhere")


def test_it_has_no_other_option_and_no_other_executable() -> None:
    assert backends.options_of("builtin") == ["as-shipped", "forked"]
    for runtime in ("builtin:replayed", "builtin:/usr/bin/runc"):
        with pytest.raises(BadInput):
            backends.load(runtime)


def test_an_ordinary_user_has_the_cgroups_that_are_delegated_and_no_rules_for_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = {"linux": {"resources": {"memory": {"limit": 1 << 26}}}}
    ruled = {"linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(backends, "delegated", lambda _config: False)
    assert backends.undelegated(limited) == ["cgroups, which are not delegated to this user"]
    monkeypatch.setattr(backends, "delegated", lambda _config: True)
    assert backends.undelegated(limited) == []
    assert "only root may load" in backends.undelegated(ruled)[0]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert backends.undelegated(ruled) == []
