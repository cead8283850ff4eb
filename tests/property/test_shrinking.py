"""What Hypothesis makes of a config that shows something is that, and nothing beside it."""

from collections.abc import Callable

import pytest

from harness import fuzz, reproduction
from harness.runtime.config import Config
from harness.strategies import configs

EXAMPLES = 300
SEED = 1


def has_fifo(config: Config) -> bool:
    return any(device["type"] == "p" for device in config["linux"].get("devices", []))


def has_limit(config: Config) -> bool:
    memory = config["linux"].get("resources", {}).get("memory", {})
    return bool(memory.get("limit", -1) > 0)


@pytest.mark.parametrize(
    ("condition", "part"),
    [(has_fifo, "linux.devices: "), (has_limit, "linux.resources: ")],
)
def test_a_config_shrinks_to_the_part_that_matters(condition: Callable[[Config], bool], part: str) -> None:
    smallest = fuzz.smallest(configs(), condition, EXAMPLES, SEED)
    assert smallest
    (line,) = reproduction.described(smallest)
    assert line.startswith(part)
