"""Whatever a config says, its scenario asks for the same one, and a merge patch is what lies between two values."""

import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import reproduction, scenario, shapes
from harness.outcomes import UNSAID, Difference, Group
from harness.runtime.config import Config
from harness.strategies import configs

VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=15,
)


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), VALUES))
def test_a_patch_makes_one_value_of_another(source: dict[str, Any], target: dict[str, Any]) -> None:
    assert shapes.merged(source, reproduction.patch(source, target)) == target


@settings(max_examples=25)  # each is written and read again
@given(configs())
def test_the_scenario_of_a_config_asks_for_that_config(config: Config) -> None:
    shown = reproduction.Shown(Group("start failed: no", "a"), Difference({"a": "", "b": ""}, UNSAID), config, ({}, {}))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.yaml")
        path.write_text(reproduction.scenario("a", shown))
        (check,) = scenario.load(path).checks
    assert shapes.config([check.container], os.geteuid(), os.getegid()) == config
