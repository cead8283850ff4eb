"""A hostile config that is really started: it runs or is refused with one line, and nothing of it stays on the host."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import outer
from harness.language import Container
from harness.runtime.config import read
from harness.runtime.errors import ConfigError
from harness.shapes import COMMAND, config
from tests.kernel.sandboxed import Sandbox
from tests.property.hostile import assert_lines, mutated

pytestmark = [
    pytest.mark.usefixtures("needs_namespaces", "needs_root"),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]

EXAMPLES = 60  # a tenth of a second for each
DEADLINE = 10.0  # seconds
BASES = [config([Container(**shape)], 0, 0) for shape in ({}, {"userns": True}, {"pids": 64, "memory": 1 << 28})]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with outer.start() as host:
        yield Sandbox(host, "builtin")


@st.composite
def configs(draw: st.DrawFn) -> Any:
    """A config in which something is changed, but not that it runs the probes; mostly one that its reader lets pass."""
    wanted = draw(mutated(st.sampled_from(BASES), most=4))
    if isinstance(wanted.get("process"), dict):
        wanted["process"]["args"] = [COMMAND]
    else:
        wanted["process"] = BASES[0]["process"]
    return wanted


def passes(wanted: Any) -> bool:
    try:
        read(wanted, strict=True)
    except ConfigError:
        return False
    return True


@settings(max_examples=EXAMPLES)
@given(configs().filter(passes) | configs())
def test_a_hostile_config_runs_or_is_refused_and_leaves_nothing(sandbox: Sandbox, wanted: Any) -> None:
    answer = sandbox.start(wanted, DEADLINE)
    if answer["error"]:
        assert_lines(answer["error"])
        assert not answer["error"].startswith("carry out the run"), answer["error"]
        assert "Traceback" not in answer["error"]
    if start := answer.get("start"):
        assert "Traceback" not in start["message"]
        assert "ended without a word" not in start["message"]
        assert start["ran"] or start["refused"] or start["status"], start
        if start["refused"]:
            assert_lines(start["message"])
    assert sandbox.left() == []
