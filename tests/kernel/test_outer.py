"""Outer sandboxes: what is told when one fails, what the host role has of its zygote, and that nothing of one stays."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import bait, outer
from harness.errors import HarnessError
from harness.rootfs import build_kit
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")
ROOT = Path(__file__).parents[2]
DEADLINE = 60.0  # seconds
SCENARIO = """
title: A container that is busy for long
container: {pids: 64}
checks:
  busy:
    claim: It is busy
    expect: [inside.burn.wall_seconds > 0, host.host_names.uts > 0]
    observe:
      burn: {probe: burn, args: {seconds: 55}, deadline: 60}
      host_names: {probe: namespaces, during: burn}
    sabotage: skip-limit=pids
    severity: dos
"""
Traces = tuple[set[str], list[str]]  # the names of cgroups, and where they would be
HOLD = """
from harness import outer
with outer.start():
    print("there", flush=True)
    input()
"""


def facts_of_the_host(sandbox: outer.Outer, probe: str, **arguments: str) -> dict[str, Any]:
    """What a probe sees that the host role runs; the container beside it is one that cannot start."""
    nothing = {"runtime": "null", "config": {"process": {"args": ["container.command"]}}, "inside": {}}
    answer = sandbox.run(nothing | {"host": {"seen": {"probe": probe, "args": arguments}}}, 10.0)
    facts: dict[str, Any] = answer["host"]["seen"]["facts"]
    return facts


def test_the_host_role_has_nothing_of_its_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    with outer.start() as sandbox:
        variables = facts_of_the_host(sandbox, "environ")["variables"]
    names = {variable.partition("=")[0] for variable in variables}
    assert "PATH" in names
    assert names <= {"PATH", "HOME", "LANG", "XDG_RUNTIME_DIR"}


def test_the_host_role_holds_no_descriptor_of_its_zygote() -> None:
    """It is a copy, and has executed nothing that would have closed what the zygote and the launcher had open."""
    with outer.start() as sandbox:
        descriptors = facts_of_the_host(sandbox, "init")["descriptors"]
    assert [target for target in descriptors.values() if target.startswith("socket:")] == []


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (
            {"canaries": {"bait": {"kind": "process"}}, "image": {"files": {"/a": "canary.bait.pidd"}}},
            r"find canary\.bait\.pidd: there is no pidd in it; there is .*\bpid\b.*",
        ),
        ({"image": {"directories": ["/a/../../b"]}}, r"plant '/a/\.\./\.\./b' in the image: .*"),
        ({"inside": {"a": {}}}, r"carry out the run: KeyError: 'probe'"),
    ],
)
def test_a_run_that_cannot_be_carried_out_says_why(request_: dict[str, Any], error: str) -> None:
    nothing = {"runtime": "null", "config": {"process": {"args": ["container.command"]}}, "inside": {}}
    with outer.start() as sandbox:
        answer = sandbox.run(nothing | request_, 10.0)
        assert answer.keys() == {"error"}
        assert re.fullmatch(error, answer["error"]), answer["error"]
        assert sandbox.run(nothing, 10.0)["error"] is None  # the sandbox is none the worse


def test_each_sandbox_has_namespaces_and_a_first_process_of_its_own() -> None:
    kit = build_kit()
    with outer.Zygote() as zygote, outer.Outer(kit, zygote) as first, outer.Outer(kit, zygote) as second:
        seen = [facts_of_the_host(sandbox, "namespaces") for sandbox in (first, second)]
    ours = {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in ("mnt", "pid", "net", "uts", "ipc", "cgroup")}
    for name, inode in ours.items():
        assert len({inode, seen[0][name], seen[1][name]}) == 3, name


def test_nothing_can_be_written_that_does_not_go_with_the_sandbox() -> None:
    """Its root is a directory of the machine's: what a sabotaged runtime made there would stay."""
    with outer.start() as sandbox:
        assert facts_of_the_host(sandbox, "create_file", path="/left-behind")["errno"] == "EROFS"
        assert facts_of_the_host(sandbox, "create_file", path=f"{outer.WORK}/gone")["errno"] is None


def test_a_sandbox_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer, "config", lambda directory: {"ociVersion": "1.0.2", "root": {"path": "/none"}})
    with pytest.raises(HarnessError, match=r"^run in outer sandbox: it has ended; it said: config\.json: "):
        outer.start().__enter__()


def test_a_zygote_that_is_gone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer, "command", lambda _module: [sys.executable, "-c", "raise SystemExit('no room')"])
    with pytest.raises(
        HarnessError, match=r"^start outer sandbox: the process that launches it gives no answer; it said: no room$"
    ):
        outer.start().__enter__()


def first_process(words: str) -> int:
    """Wait until there is a process with these words in its command line, and return the first."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if words in Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode():
                    return int(name)
            except OSError:
                continue
    raise AssertionError(f"no process with {words!r} in its command line came")


def await_all() -> None:
    """Wait until this process, the first of its namespace and so the parent of orphans, has no children any more."""

    def give_up(_number: int, _frame: object) -> None:
        raise AssertionError("something has outlived it")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(int(DEADLINE))
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def cgroups_of_everybody() -> set[str]:
    """The names of the cgroups of ours that processes here are in."""
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        found.update(re.findall(r"isoproof-[^/\s]+", path.read_text()))
    return found


@pytest.mark.usefixtures("needs_root")  # in the throwaway namespaces an ordinary user would be root in name alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_stays_when_the_holder_of_a_sandbox_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    def story() -> Traces:
        mounts = Path("/proc/self/mountinfo").read_text()
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert holder.stdout
        assert holder.stdout.readline() == b"there\n"
        cgroups = cgroups_of_everybody()
        holder.send_signal(number)
        holder.wait(DEADLINE)
        await_all()
        assert Path("/proc/self/mountinfo").read_text() == mounts
        return cgroups, [str(own) for own in bait.own_cgroups(set()).values()]

    assert_gone(story)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("needs_root")
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """SIGINT goes to the whole foreground process group, as from a terminal, while a container of a check is busy."""
    project = tmp_path / "project"
    (project / "scenarios").mkdir(parents=True)
    (project / "scenarios" / "busy.yaml").write_text(SCENARIO)
    (project / "pyproject.toml").write_text('[tool.pytest]\naddopts = ["-p", "harness.plugin"]\n')
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def story() -> Traces:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", "--prove", "scenarios"],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            text=True,
        )
        first_process("/isoproof/probes")
        cgroups = cgroups_of_everybody()
        os.killpg(run.pid, signal.SIGINT)
        said, _ = run.communicate(timeout=DEADLINE)
        assert run.returncode == pytest.ExitCode.INTERRUPTED, said
        assert "KeyboardInterrupt" in said
        assert "ResourceWarning" not in said
        await_all()
        return cgroups, [str(own) for own in bait.own_cgroups(set()).values()]

    assert_gone(story)
    assert list(temporary.iterdir()) == []


def assert_gone(story: Callable[[], Traces]) -> None:
    cgroups, places = in_throwaway(story)
    assert cgroups
    assert [place for own in places for place in Path(own).iterdir() if place.name in cgroups] == []
