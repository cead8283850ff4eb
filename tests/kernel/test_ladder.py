"""The ladder on this kernel: nearly nothing holds in a chroot, everything at the top, and no rung is for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import outer, rootfs
from harness.ladder.climb import climb
from harness.ladder.record import Ladder
from harness.ladder.rungs import RUNGS
from harness.launches import Start, known
from harness.scenario import Scenario, load

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
NAMES = [rung.name for rung in RUNGS]

pytestmark = pytest.mark.usefixtures("needs_root", "needs_namespaces")


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """What makes outer sandboxes."""
    kit = rootfs.build_kit()
    with outer.Zygote() as zygote:
        yield lambda: outer.Outer(kit, zygote)


def scenarios(*names: str) -> list[Scenario]:
    files = [SCENARIOS / f"{name}.yaml" for name in names] or sorted(SCENARIOS.glob("*.yaml"))
    return [load(file) for file in files]


def climbed(start: Start, *names: str) -> Ladder:
    return climb(scenarios(*names), known(SCENARIOS / "known", "builtin"), start)


def test_a_chroot_isolates_next_to_nothing_and_the_whole_plan_everything(start: Start) -> None:
    ladder = climbed(start)
    assert len(ladder.checks) > 100
    assert [f"{check.name}: {check.reason}" for check in ladder.checks if check.reason] == []
    red = [check.name for check in ladder.checks if check.outcomes[0] == "fail"]
    assert len(red) > 0.8 * len(ladder.checks)
    assert [check.name for check in ladder.checks if check.outcomes[-1] != "pass"] == []
    for at, rung in enumerate(ladder.rungs[:-1]):
        assert rung.example, rung.name
        assert ladder.checks[[check.name for check in ladder.checks].index(rung.example.check)].outcomes[at] == "fail"
        assert rung.example.failures, rung.name
    # A rung may be idle where the kernel lacks what it is about; then checks that are about it are skipped.
    lacking = {
        rung.name
        for rung in RUNGS
        for scenario in scenarios()
        for check in scenario.checks
        if check.name in ladder.skipped and not set(check.sabotages).isdisjoint(rung.knobs)
    }
    assert {*ladder.idle()} <= lacking
    turned = {check.name: NAMES[check.turns] for check in ladder.checks if check.turns is not None}
    assert turned["mnt-root-is-rootfs"] == "chroot"
    assert turned["mnt-ns-differs"] == "mount"
    assert turned["pid-host-pid-unreachable"] == "pid"
    assert turned["net-host-tcp-unreachable"] == "net"
    assert turned["caps-sets-exact"] == "caps"
    assert turned["secc-mode-filter"] == "seccomp"


def test_a_rung_without_effect_is_seen_to_have_none(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the UTS namespace is never taken away, its checks hold without it, and its rung turns nothing green."""
    assert [check.name for check in climbed(start, "uts").turned(NAMES.index("uts"))] != []
    lame = tuple(rung._replace(knobs=()) if rung.name == "uts" else rung for rung in RUNGS)
    monkeypatch.setattr("harness.ladder.rungs.RUNGS", lame)
    assert "uts" in climbed(start, "uts").idle()
