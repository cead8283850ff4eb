"""Random configs are readable and right, and have every field of the table in them, also one that is new there."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from harness import shapes, strategies
from harness.language import Container
from harness.runtime.config import Config, read
from harness.runtime.fields import FIELDS, KINDS, NAMESPACES, Field
from harness.runtime.kinds import Whole
from harness.strategies import RARE, any_configs, configs, drawn, parts
from harness.strategies.world import World
from tests.unit.test_agreement import leaves

# What no random config has, or not on every machine, and why.
LEFT_OUT = {
    "linux.personality.flags[]": "there are none",
    "process.scheduler.flags[]": "they are about realtime, or keep a policy that nobody has set",
    "process.scheduler.priority": "it is for realtime, which no cgroup has time for by itself",
    "process.scheduler.runtime": "likewise",
    "process.scheduler.deadline": "likewise",
    "process.scheduler.period": "likewise",
    "process.landlock.ruleset.handledAccessFS[]": "the probes need the rights that there are",
    "process.landlock.rules.pathBeneath[].paths[]": "likewise",
    "process.landlock.rules.pathBeneath[].allowedAccess[]": "likewise",
    "linux.namespaces[].type": "they are drawn first, and all else depends on them",
    "linux.namespaces[].path": "likewise",
    "linux.resources.blockIO.weight": "only the BFQ scheduler knows it, which is rare",
    "linux.resources.blockIO.weightDevice[].major": "likewise",
    "linux.resources.blockIO.weightDevice[].minor": "likewise",
    "linux.resources.blockIO.weightDevice[].weight": "likewise",
    "linux.seccomp.defaultErrnoRet": "harness.random_profiles has profiles of any sort",
    "linux.seccomp.architectures[]": "likewise",
    "linux.seccomp.listenerPath": "it takes an agent on the host",
    "linux.seccomp.listenerMetadata": "likewise",
    "linux.seccomp.syscalls[].errnoRet": "harness.random_profiles has profiles of any sort",
    "linux.seccomp.syscalls[].args[].index": "likewise",
    "linux.seccomp.syscalls[].args[].value": "likewise",
    "linux.seccomp.syscalls[].args[].valueTwo": "likewise",
    "linux.seccomp.syscalls[].args[].op": "likewise",
}
FIRST_VERSION = {  # of cgroups, which few machines have any more
    *(f"linux.resources.memory.{name}" for name in ("swappiness", "disableOOMKiller", "kernelTCP")),
    *(f"linux.resources.cpu.{name}" for name in ("realtimePeriod", "realtimeRuntime")),
}
ANYWHERE = World(frozenset(NAMESPACES) - {"user"}, frozenset(), ())


def usual() -> Config:
    return shapes.config([Container()], 0, 0)


def test_nobody_else_needs_hypothesis() -> None:
    script = "import harness.plugin, harness.cli, harness.agreement, sys; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_simplest_config_is_the_default_one() -> None:
    assert find(configs(), lambda _config: True, settings=settings(database=None, max_examples=10)) == usual()


def test_what_it_shrinks_to_is_little_more() -> None:
    found = find(
        configs(),
        lambda config: config["process"]["user"]["uid"] > 0,
        settings=settings(database=None, max_examples=1000),
    )
    assert shapes.patch(usual(), found) == {"process": {"user": {"uid": 1}}}


@given(configs())
def test_every_config_can_be_read(config: Config) -> None:
    assert read(config, strict=True) == config
    assert config["process"]["args"] == [shapes.COMMAND]


def paths_in(part: str) -> set[str]:
    """The paths of the table that stand in what is drawn for a part."""
    met: set[str] = set()

    @settings(max_examples=400 if part == "mounts" else 80, derandomize=True, phases=[Phase.generate])
    @given(drawn(part, ANYWHERE))
    def meet(value: Any) -> None:
        for word in reversed(part.split(".")):
            value = {word: value}
        met.update(path for path, _place, _key in leaves(value))

    meet()
    return met


def test_every_field_is_drawn_or_there_is_a_reason() -> None:
    usually = {path for path, _place, _key in leaves(usual())}
    met = set().union(*map(paths_in, parts()))
    mapped = {path for path in KINDS if path.startswith(("linux.uidMappings", "linux.gidMappings"))}
    assert set(KINDS) - usually - met - mapped - set(LEFT_OUT) - FIRST_VERSION == set()
    assert met & set(LEFT_OUT) == set()


@pytest.mark.parametrize(
    ("part", "rest"), [("process.novelty", ""), ("linux.novelty", ".deep[].*"), ("linux.resources.novelty", ".rate")]
)
def test_a_new_field_of_the_table_is_drawn_at_once(part: str, rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = Field(part + rest, Whole(3, 7), "A field that nobody has thought of")
    monkeypatch.setattr(strategies, "FIELDS", (*FIELDS, field))
    monkeypatch.setattr(strategies, "KINDS", {**KINDS, field.path: field.kind})
    assert part in parts()
    assert "7" in str(find(drawn(part, ANYWHERE), lambda value: "7" in str(value), settings=settings(database=None)))


def test_rare_parts_are_parts() -> None:
    assert set(RARE) <= set(parts())


VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)
OBJECTS = st.dictionaries(st.text(), VALUES)


@given(any_configs() | OBJECTS, any_configs() | OBJECTS)
def test_a_patch_makes_one_config_of_another(original: Config, changed: Config) -> None:
    assert shapes.merged(original, shapes.patch(original, changed)) == changed
    assert shapes.patch(original, original) == {}
