"""Bait that does something while a container runs, or changes who launches it: what it then tells."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from harness import bait, canaries, environment
from harness.runtime.syscalls import CLONE
from tests.kernel.test_canaries import NONCE, facts_of
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")


def test_snare_leads_from_what_is_shared_to_what_is_not(tmp_path: Path) -> None:
    canary = canaries.place("snare", {"file": "deep/resident"}, tmp_path, NONCE)
    facts = facts_of(canary)
    Path(facts["shared"], "inner", "x").touch()
    assert facts_of(canary)["entries"] == [*facts["before"], "x"]
    canary.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("needs_root")
def test_freezer_freezes_what_is_in_the_background(tmp_path: Path) -> None:
    # Root's launcher is in cgroups whose freezers are to be had; the process is asleep in one of its own below them.
    canary = canaries.place("freezer", {}, tmp_path, NONCE)
    command = [sys.executable, "-c", "print(flush=True); input()", NONCE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as asleep:
        assert asleep.stdout is not None
        assert asleep.stdout.readline() == b"\n"
        canary.act({"pid": os.getpid()})
        assert facts_of(canary)["frozen"] == [asleep.pid]
        canary.close()
    assert asleep.returncode == -signal.SIGKILL
    assert not list(bait.freezer_of(os.getpid()).glob("frozen-*"))


def test_terminal_tells_what_was_typed_on_it(tmp_path: Path) -> None:
    def story() -> None:
        canary = canaries.place("terminal", {}, tmp_path, NONCE)
        canary.act({})
        assert facts_of(canary)["typed"] == ""
        os.setsid()
        streams = (*os.pipe(), os.dup(1))
        canary.change_launcher(streams)
        assert os.ttyname(streams[2]) == facts_of(canary)["name"]
        fcntl.ioctl(streams[2], termios.TIOCSTI, b"Z")
        canary.act({})
        assert facts_of(canary)["typed"] == "Z"

    if environment.facts()["uid"] != 0 and not environment.facts()["tiocsti"]:
        pytest.skip("nobody may type on a terminal here: dev.tty.legacy_tiocsti")
    in_throwaway(lambda: in_throwaway(story, CLONE(0)), CLONE(0))


@pytest.mark.skipif(not environment.facts()["disk"], reason="/usr is not on a block device")
def test_cached_file_leaves_one_page_in_memory(tmp_path: Path) -> None:
    canary = canaries.place("cached-file", {}, tmp_path, NONCE)
    facts = facts_of(canary)
    assert facts["read"] is None
    canary.act({})
    read = facts_of(canary)["read"]
    with Path(facts["path"]).open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        found = [offset for offset in facts["offsets"] if is_in_memory(file.fileno(), offset)]
    assert read in found
    assert len(found) < len(facts["offsets"])  # others may happen to read the same file
    canary.close()


def is_in_memory(file: int, offset: int) -> bool:
    try:
        return os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
