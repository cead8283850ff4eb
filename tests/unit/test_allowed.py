"""What the runtime-spec allows to differ is allowed where it says so, and not beside it."""

from typing import Any

import pytest

from harness.allowed import ALLOWED, allowance
from harness.runtime.config import Config
from harness.shapes import default

USUAL = default(0, 0)
REMOUNTED = USUAL | {"mounts": [*USUAL["mounts"], {"destination": "/dev/shm", "options": ["remount"]}]}
SWAPPY, LESS_SWAPPY = (
    USUAL | {"linux": USUAL["linux"] | {"resources": {"memory": {"swappiness": value}}}} for value in (101, 100)
)
FIFO = {"path": "/dev/a", "type": "p"}
MODELESS, WITH_MODE = (
    USUAL | {"linux": USUAL["linux"] | {"devices": [device]}} for device in (FIFO, FIFO | {"fileMode": 0o600})
)
NUMBERS = {"a": 4, "b": 5}
LATER = USUAL | {"ociVersion": "1.1.0"}
FLAGS = {"a": True, "b": False}


@pytest.mark.parametrize(
    ("path", "config", "shown", "section"),
    [
        ("mounts.*.nosuid", REMOUNTED, FLAGS, 'config.md "Linux mount options"'),
        ("mounts.*.nosuid", USUAL, FLAGS, None),
        ("mounts.*.type", REMOUNTED, {"a": "tmpfs", "b": "proc"}, None),
        ("mounts.*", REMOUNTED, {"a": "no mount", "b": {"ro": True}}, None),
        ("start refused: config: cannot use unified on cgroup vN", USUAL, {}, 'config-linux.md "Unified"'),
        ("start refused: invalid memory swappiness value: N", SWAPPY, {}, 'config-linux.md "Memory"'),
        ("start refused: invalid memory swappiness value: N", LESS_SWAPPY, {}, None),
        ("linux.devices.*.mode", MODELESS, NUMBERS, 'config-linux.md "Devices"'),
        ("linux.devices.*.mode", WITH_MODE, NUMBERS, None),
        ("linux.devices.*.uid", MODELESS, NUMBERS, None),
        ("start refused: unknown version specified", LATER, {}, 'config.md "Specification version"'),
        ("start refused: unknown version specified", USUAL, {}, None),
        ("start refused: config: cannot use it", USUAL, {}, None),
    ],
)
def test_a_difference_is_allowed_by_its_section(
    path: str, config: Config, shown: dict[str, Any], section: str | None
) -> None:
    found = allowance(path, config, shown)
    assert (found and found.section) == section


def test_each_is_a_sentence_with_its_section() -> None:
    for allowed in ALLOWED:
        assert allowed.section.startswith("config")
        assert allowed.sentence[0].islower()
        assert not allowed.sentence.endswith(".")
