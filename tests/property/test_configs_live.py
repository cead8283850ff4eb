"""Any config, on the kernel: what is seen inside is what was asked for, or the start was refused before it began.

A thousand configs: make property ARGS="tests/property/test_configs_live.py -k seen --hypothesis-profile thousand"
"""

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import event, given, settings

from harness import agreement, outer
from harness.runtime.config import Config
from harness.strategies import configs

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

Facts = dict[str, Any]
DEADLINE = 60.0  # seconds for a run
EXECUTORS = ("builtin", "builtin:forked")
# What `harness.runtime.causes` says of a step that the kernel has refused: its name, its call, the errno.
REFUSED_STEP = re.compile(r"[a-z-]+(:\S*)?: \w+\(.*: E[A-Z0-9]+ \(", re.DOTALL)
LIVE = settings(max_examples=max(settings().max_examples // 3, 30))


class Host:
    """An outer sandbox that is looked at after every run, for what is left of it."""

    def __init__(self, sandbox: outer.Outer) -> None:
        self._sandbox = sandbox
        self._before = self._left(self._run({"runtime": "null", "config": NO_CONTAINER, "inside": {}}))

    def run(self, runtime: str, config: Config) -> Facts:
        """Run a config and return the answer of the host role, after which nothing may be left."""
        answer = self._run(agreement.request(runtime, config))
        assert "start" in answer, answer["error"]
        assert answer["error"] is None
        left = {kind: Counter(seen) - Counter(self._before[kind]) for kind, seen in self._left(answer).items()}
        assert not any(left.values()), left
        assert answer["container"]["survivors"] == 0
        return answer

    def _run(self, request: Facts) -> Facts:
        look = {"probe": "host_snapshot", "args": {"rootfs": f"{outer.WORK}/none"}}
        return self._sandbox.run(request | {"host_after": {"left": look}}, DEADLINE)

    @staticmethod
    def _left(answer: Facts) -> dict[str, list[str]]:
        """What of a container could be left, of every kind; the run that looks has a bundle of its own."""
        facts = answer["host_after"]["left"]["facts"]
        return {kind: [name for name in names if f"{outer.WORK}/run-" not in name] for kind, names in facts.items()}


NO_CONTAINER: Config = {"process": {"args": ["container.command"]}}


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    with outer.start() as one, outer.start() as other:
        yield [Host(one), Host(other)]


def outcome(answer: Facts, config: Config) -> Facts:
    """What came of a config: what was seen, or why there was nothing to be seen."""
    start = answer["start"]
    return agreement.seen(answer, config) if start["ran"] else {"refused": start["message"]}


@LIVE
@given(config=configs())
def test_what_is_seen_is_what_was_asked_for(config: Config, hosts: list[Host]) -> None:
    answer = hosts[0].run("builtin", config)
    found = outcome(answer, config)
    event("refused" if "refused" in found else "ran")
    if "refused" in found:
        assert answer["start"]["refused"], found["refused"]
        assert not REFUSED_STEP.match(found["refused"]), found["refused"]
    else:
        assert agreement.differences(agreement.asked(config), found) == []


@LIVE
@given(config=configs())
def test_both_executors_come_to_the_same(config: Config, hosts: list[Host]) -> None:
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda pair: pair[0].run(pair[1], config), zip(hosts, EXECUTORS, strict=True)))
    replayed, forked = (outcome(answer, config) for answer in answers)
    assert replayed == forked
