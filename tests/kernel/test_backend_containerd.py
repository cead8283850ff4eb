"""containerd, really run in an outer sandbox."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from harness import backends, outer
from tests.kernel.engines import ask, check_runs

# A ctr whose output is not read, so that it cannot write, until it has removed what it copies from; a new one waits.
HELD_UP = f"""#!{sys.executable} -IS
import fcntl, os, subprocess, sys, time
command = ["ctr", *sys.argv[1:]]
if "run" not in command:
    os.execvp("ctr", command)
ours, theirs = os.pipe()
full = bytes(fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096))
os.write(theirs, full)
process = subprocess.Popen(command, stdout=theirs)
os.close(theirs)
directory = next(word.partition("=")[2] for word in command if word.startswith("--fifo-dir="))
end = time.monotonic() + 3
made = now = False
while time.monotonic() < end and (now or not made):
    now = os.path.isdir(directory) and bool(os.listdir(directory))
    made = made or now
    time.sleep(0.01)
left = len(full)
while data := os.read(ours, left or 65536):
    if left:
        left -= len(data)
    else:
        os.write(1, data)
sys.exit(process.wait())
"""

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")


@pytest.fixture(autouse=True)
def containerd(missing: Callable[[str], NoReturn]) -> None:
    if lacking := backends.load("containerd").available():
        missing(lacking)


def test_it_runs_is_refused_is_ended_and_leaves_nothing() -> None:
    with outer.start() as sandbox:
        check_runs(sandbox, "containerd", "ctr")
        assert ask(sandbox, "containerd:as-shipped")["start"]["ran"]


def test_what_ctr_has_not_read_at_the_end_of_a_container_is_not_lost(tmp_path: Path) -> None:
    ctr = tmp_path / "ctr"
    ctr.write_text(HELD_UP)
    ctr.chmod(0o755)
    names = ("identity", "namespaces", "mounts")
    inside = {name: {"probe": name, "args": {}, "deadline": 10.0} for name in names}
    with outer.start() as sandbox:
        answer = ask(sandbox, f"containerd:{ctr}", inside=inside)
    assert answer["start"]["ran"], answer["start"]
    assert [name for name in names if "facts" not in answer["inside"][name]] == []
    assert answer["start"]["status"] == 0
