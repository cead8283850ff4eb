"""Whatever a config says, its scenario asks for the same one."""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings

from harness import reproduction, scenario, shapes
from harness.outcomes import UNSAID, Difference, Group
from harness.runtime.config import Config
from harness.strategies import configs


@settings(max_examples=25)  # each is written and read again
@given(configs())
def test_the_scenario_of_a_config_asks_for_that_config(config: Config) -> None:
    shown = reproduction.Shown(Group("start failed: no", "a"), Difference({"a": "", "b": ""}, UNSAID), config, ({}, {}))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.yaml")
        path.write_text(reproduction.scenario("a", shown))
        (check,) = scenario.load(path).checks
    assert shapes.config([check.container], os.geteuid(), os.getegid()) == config
