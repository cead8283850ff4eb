"""What must come to the same when a config is written otherwise, and what can only become less when it is tighter."""

import contextlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from harness import agreement, environment, outer, precision, scenario, shapes
from harness.language import Container
from harness.launches import Case, Launches, known, obstacle
from harness.outer import Outer
from harness.runtime.config import Config
from harness.strategies import configs
from tests.property.reaching import STEPS, UNSEEN, loose, reached, request, tightened

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 60.0  # seconds for a run
HUNDRED = settings(max_examples=100)
FEW = settings(max_examples=settings().max_examples // 20)  # of what runs two containers
KINDS = ("uts", "ipc", "net", "cgroup", "pid")
AREAS = ("uts", "ipc", "net", "cgroup-ns", "pid")
CGROUP = re.compile("isoproof-[0-9]+-[0-9a-f]+")  # that is named after the container
on_the_kernel = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@HUNDRED
@given(configs())
def test_a_config_merged_with_itself_is_itself(config: Config) -> None:
    assert shapes.merged(config, config) == config
    assert shapes.merged(config, {}) == config


@HUNDRED
@given(configs(), configs())
def test_merging_once_more_changes_nothing(config: Config, other: Config) -> None:
    once = shapes.merged(config, other)
    assert shapes.merged(once, other) == once
    assert shapes.merged(config, shapes.patch(config, other)) == other


@HUNDRED
@given(configs(), configs(), configs())
def test_layers_can_be_merged_in_any_grouping(lowest: Config, middle: Config, highest: Config) -> None:
    """It is not so of patches that remove a thing, or put a text in the place of an object; configs do neither."""
    upper = shapes.merged(middle, highest)
    assert shapes.merged(shapes.merged(lowest, middle), highest) == shapes.merged(lowest, upper)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Outer]:
    with outer.start() as started:
        yield started


def usual() -> Config:
    return shapes.config([Container()], 0, 0)


@pytest.fixture(scope="module")
def widest(sandbox: Outer) -> set[str]:
    return reached(sandbox.run(request(loose(usual())), DEADLINE))


@on_the_kernel
@pytest.mark.parametrize("step", STEPS)
def test_what_a_step_takes_away_is_seen(step: str, sandbox: Outer, widest: set[str]) -> None:
    """Else the next test would see nothing either."""
    after = reached(sandbox.run(request(tightened(loose(usual()), step)), DEADLINE))
    assert after <= widest
    assert (after < widest) == (step not in UNSEEN)


@on_the_kernel
@FEW
@given(config=configs(), step=st.sampled_from([*STEPS]))
def test_a_tighter_config_never_reaches_more(config: Config, step: str, sandbox: Outer) -> None:
    before = reached(sandbox.run(request(config), DEADLINE))
    assume(before)
    after = reached(sandbox.run(request(tightened(config, step)), DEADLINE))
    note(f"the default config, and {shapes.patch(usual(), config)}")
    assert after - before == set()


@on_the_kernel
@FEW
@given(config=configs(), random=st.randoms(use_true_random=False))
def test_independent_mounts_stand_in_any_order(config: Config, random: Random, sandbox: Outer) -> None:
    mounts = reordered(config["mounts"], random)
    note(f"the default config, and {shapes.patch(usual(), config | {'mounts': mounts})}")
    first, second = (
        seen_of_mounts(sandbox.run(agreement.request("builtin", each), DEADLINE), each)
        for each in (config, config | {"mounts": mounts})
    )
    assert first == second


def seen_of_mounts(answer: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return what is seen inside, and the mount table without numbers and names that are new with each start."""
    if not answer["start"]["ran"]:
        return {"refused": answer["start"]["refused"]}
    mounts = answer["inside"]["mounts"]["facts"]["mounts"]
    table = [[mount[key] for key in ("point", "type", "source", "options", "super_options")] for mount in mounts]
    trees = sorted(CGROUP.sub("cgroup", f"{mount['point']} {mount['root']}") for mount in mounts)
    return {"table": sorted(table), "trees": trees, **agreement.seen(answer, config)}


def reordered(mounts: list[Config], random: Random) -> list[Config]:
    """Return mounts in an order in which those that are upon or below one another stand as they did."""
    left, result = [*mounts], []
    while left:
        free = [index for index, mount in enumerate(left) if not any(touch(mount, other) for other in left[:index])]
        result.append(left.pop(random.choice(free)))
    return result


def touch(one: Config, other: Config) -> bool:
    first, second = (f"/{posixpath.normpath(mount['destination']).strip('/')}/" for mount in (one, other))
    return first.startswith(second) or second.startswith(first)


@on_the_kernel
@settings(max_examples=3)
@given(area=st.sampled_from(AREAS), kinds=st.sets(st.sampled_from(KINDS), min_size=2))
def test_without_some_namespaces_those_checks_are_red_that_are_without_one(area: str, kinds: set[str]) -> None:
    """What each takes away by itself is recorded, and held to the kernel by make precision."""
    kind = precision.machine(environment.facts())
    record = precision.read(ROOT / precision.RECORD).get(kind, {})
    if not record:
        pytest.skip(f"nothing is recorded for {kind}")
    knobs = [f"skip-ns={name}" for name in sorted(kinds)]
    checks = scenario.load(ROOT / "scenarios" / f"{area}.yaml").checks
    steady = [check for check in checks if {record[knob].of(check.name) for knob in knobs} <= {"red", "green"}]
    of_runtime = known(ROOT / "scenarios/known", precision.RUNTIME)
    cases = [Case(check, precision.RUNTIME, " + ".join(knobs)) for check in steady]
    with contextlib.closing(Launches(outer.start, [])) as launches:
        found = dict(precision.states([case for case in cases if not obstacle(case, of_runtime)], launches))
    assert found
    assert found == {name: "red" if any(name in record[knob].red for knob in knobs) else "green" for name in found}
