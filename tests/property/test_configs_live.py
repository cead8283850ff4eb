"""Any config, on the kernel: what is seen inside is what was asked for, or the start was refused before it began.

A thousand of them: pytest tests/property/test_configs_live.py -k seen --hypothesis-profile thousand
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import event, example, given, note, settings
from hypothesis import strategies as st

from harness import agreement, outer, shapes
from harness.errors import HarnessError
from harness.language import Container
from harness.runtime.config import Config
from harness.strategies import configs

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

Facts = dict[str, Any]
DEADLINE = 60.0  # seconds for a run
LOOK = {"probe": "host_snapshot", "args": {"rootfs": f"{outer.WORK}/none"}}
# What `harness.runtime.causes` says of a step that the kernel has refused: its name, its call, the errno.
REFUSED_STEP = re.compile(r"[a-z-]+(:\S*)?: \w+\(.*: E[A-Z0-9]+ \(", re.DOTALL)
PAIRS = settings(max_examples=settings().max_examples // 2)
FEW = settings(max_examples=settings().max_examples // 3)


def usual(**changes: Any) -> Config:
    """The default config with a merge patch."""
    config: Config = shapes.merged(shapes.config([Container()], 0, 0), changes)
    return config


class Host:
    """An outer sandbox that is looked at after every run, for what is left of it; where it fails there is another."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        self._start()

    def _start(self) -> None:
        self._sandbox = self._undo.enter_context(outer.start())
        nothing = {"runtime": "null", "config": {"process": {"args": [shapes.COMMAND]}}, "inside": {}}
        self._before = self._left(self._sandbox.run(nothing | {"host_after": {"left": LOOK}}, DEADLINE))

    def close(self) -> None:
        self._undo.close()

    def run(self, runtime: str, config: Config, *knobs: str) -> Facts:
        """Run a config and return what was seen, or why it was refused; after that nothing may be left."""
        request = agreement.request(runtime, config) | {"host_after": {"left": LOOK}, "sabotage": [*knobs]}
        try:
            answer = self._sandbox.run(request, DEADLINE)
        except HarnessError:
            self._undo.close()
            self._start()
            raise
        assert answer.get("error") is None, answer["error"]
        left = {kind: Counter(seen) - Counter(self._before[kind]) for kind, seen in self._left(answer).items()}
        assert not any(left.values()), left
        assert answer["container"]["survivors"] == 0
        start = answer["start"]
        return agreement.seen(answer, config) if start["ran"] else {key: start[key] for key in ("refused", "message")}

    @staticmethod
    def _left(answer: Facts) -> dict[str, list[str]]:
        """What of a container could be left, of every kind; the run that looks has a bundle of its own."""
        facts = answer["host_after"]["left"]["facts"]
        return {kind: [name for name in names if f"{outer.WORK}/run-" not in name] for kind, names in facts.items()}


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    one, other = Host(), Host()
    yield one, other
    one.close()
    other.close()


def together(hosts: tuple[Host, Host], runs: list[tuple[str, Config]]) -> list[Facts]:
    """Make two runs at once: one alone leaves half of the machine idle."""
    for _runtime, config in runs:
        note(f"the default config, and {json.dumps(shapes.patch(usual(), config))}")
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda host, run: host.run(*run), hosts, runs))


@PAIRS
@given(pair=st.tuples(configs(), configs()))
@example(pair=(usual(linux={"personality": {"domain": "LINUX32"}}), usual()))
def test_what_is_seen_is_what_was_asked_for(pair: tuple[Config, Config], hosts: tuple[Host, Host]) -> None:
    for config, found in zip(pair, together(hosts, [("builtin", config) for config in pair]), strict=True):
        if "refused" in found:
            event("refused")
            assert found["refused"], found["message"]
            assert not REFUSED_STEP.match(found["message"]), found["message"]
        else:
            event("ran")
            assert agreement.differences(agreement.asked(config), found) == []


@FEW
@given(config=configs())
def test_both_executors_come_to_the_same(config: Config, hosts: tuple[Host, Host]) -> None:
    replayed, forked = together(hosts, [("builtin", config), ("builtin:forked", config)])
    assert replayed == forked


@pytest.mark.parametrize(
    ("knob", "changes", "path"),
    [
        ("no-sethostname", {}, "hostname"),
        ("env-passthrough", {}, "process.env[]"),
        ("skip-ns=ipc", {}, "linux.namespaces"),
        ("skip-ro-root", {}, "root.readonly"),
        ("drop-flag=nosuid@/dev/shm", {}, "mounts"),
        ("skip-mount=/dev/mqueue", {}, "mounts"),
        ("no-masks", {"linux": {"readonlyPaths": []}}, "linux.maskedPaths[]"),
        ("skip-ro-paths", {}, "linux.readonlyPaths[]"),
        ("extra-cap=SYS_CHROOT@bnd", {}, "process.capabilities"),
        ("no-nnp", {}, "process.noNewPrivileges"),
        ("inherit-rlimits", {}, "process.rlimits"),
        ("inherit-oom", {"process": {"oomScoreAdj": 500}}, "process.oomScoreAdj"),
        ("skip-limit=pids", {"linux": {"resources": {"pids": {"limit": 99}}}}, "linux.resources"),
        ("skip-join=pids", {"linux": {"resources": {"pids": {"limit": 99}}}}, "linux.resources"),
        ("skip-seccomp", {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}, "linux.seccomp"),
        ("skip-sysctl=kernel.shmmni", {"linux": {"sysctl": {"kernel.shmmni": "99"}}}, "linux.sysctl.*"),
    ],
)
@pytest.mark.parametrize("runtime", ["builtin", "builtin:forked"])
def test_what_is_broken_is_seen(knob: str, changes: Config, path: str, runtime: str, hosts: tuple[Host, Host]) -> None:
    config = usual(**changes)
    found = hosts[0].run(runtime, config, knob)
    assert [each for each, _wanted, _seen in agreement.differences(agreement.asked(config), found)] == [path]


def test_what_is_left_is_seen() -> None:
    host = Host()
    try:
        with pytest.raises(AssertionError, match="isoproof-left"):
            host.run("builtin", usual(linux={"cgroupsPath": "isoproof-left"}), "skip-teardown=cgroup")
    finally:
        host.close()
