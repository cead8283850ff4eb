"""How child and launcher meet while a container starts: names, descriptors, failures at a meeting."""

import fcntl
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from harness.runtime import rendezvous
from harness.runtime.config import read
from harness.runtime.errors import StartError
from harness.runtime.launch import LOWEST_FREE
from harness.runtime.step import Call, Meeting, Plan, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, O
from tests.kernel.bundles import bundle, output_of, snapshot

pytestmark = pytest.mark.usefixtures("needs_namespaces")

TAKE = Step("take", "test", (Call("openat", (AT_FDCWD, "/etc/handed", O.CLOEXEC), saves="handed"),))


def with_meeting(plan: Plan, meeting: Meeting) -> Plan:
    """Return the plan with a meeting in the switched root, at which a file of the image is handed over."""
    meet = rendezvous.meet("test", "test", Saved("handed"))
    (clear,) = [step for step in plan.steps if step.name == "umask"]
    return replace(plan.exchange("umask", TAKE, meet, clear), meetings={"test": meeting})


def test_the_launcher_acts_while_the_child_waits_and_gets_what_it_hands_over(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "cat", "/etc/met")
    (directory / "rootfs/etc").mkdir()
    (directory / "rootfs/etc/handed").write_text("from inside")

    def meeting(pid: int, descriptors: list[int]) -> None:
        (handed,) = descriptors
        root = os.readlink(f"/proc/{pid}/root") if os.geteuid() == 0 else "rootless"
        (directory / "rootfs/etc/met").write_text(f"{os.read(handed, 99).decode()} {root}")

    before = snapshot()
    status, text = output_of(directory, read(config), alter=lambda plan: with_meeting(plan, meeting))
    assert status == 0, text
    assert text.startswith("from inside")
    assert snapshot() == before


def test_a_failure_at_a_meeting_ends_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    (directory / "rootfs/etc").mkdir()
    (directory / "rootfs/etc/handed").write_text("")

    def meeting(pid: int, descriptors: list[int]) -> None:
        raise StartError("test: no", "test", 0)

    before = snapshot()
    with pytest.raises(StartError, match="test: no"):
        output_of(directory, read(config), alter=lambda plan: with_meeting(plan, meeting))
    assert snapshot() == before


def test_a_child_killed_at_a_meeting_is_no_hang(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    (directory / "rootfs/etc").mkdir()
    (directory / "rootfs/etc/handed").write_text("")

    def meeting(pid: int, descriptors: list[int]) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    before = snapshot()
    status, _ = output_of(directory, read(config), alter=lambda plan: with_meeting(plan, meeting))
    assert status == 128 + signal.SIGKILL
    assert snapshot() == before


def test_what_a_meeting_keeps_stays_open(tmp_path: Path) -> None:
    """It may get the number of a descriptor that the launcher itself has just closed."""
    directory, config = bundle(tmp_path)
    (directory / "rootfs/etc").mkdir()
    (directory / "rootfs/etc/handed").write_text("from inside")
    kept = []

    def meeting(pid: int, descriptors: list[int]) -> None:
        kept.append(fcntl.fcntl(descriptors[0], fcntl.F_DUPFD_CLOEXEC, LOWEST_FREE))

    assert output_of(directory, read(config), alter=lambda plan: with_meeting(plan, meeting)) == (0, "")
    assert os.read(kept[0], 99) == b"from inside"
    os.close(kept[0])
