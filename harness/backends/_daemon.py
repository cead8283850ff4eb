"""A daemon that containers are made by, in the outer sandbox; it ends with that, as all that is in there does."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.backends import _command
from harness.errors import HarnessError
from harness.runtime.syscalls import MS, invoke

READY = 15.0  # seconds that a daemon gets to answer: less than what the host role is given for a run
PAUSE = 0.02  # seconds between two questions
LAST_LINES = 5
SUBORDINATE = ("/etc/subuid", "/etc/subgid")


class Daemon:
    """A daemon that has been started; what it says goes to a log in its directory."""

    def __init__(self, command: Sequence[str], directory: Path, patience: float = READY) -> None:
        self._name = os.path.basename(command[0])
        self._log = directory / "log"
        self._patience = patience
        self._end = time.monotonic() + patience
        with open(self._log, "wb") as output:
            self._process = subprocess.Popen(
                [_command.path_to(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"TMPDIR": str(directory)},
                cwd=directory,
                start_new_session=True,
            )

    def wait(self, answers: Callable[[], bool]) -> None:
        """Wait until it answers. Raises HarnessError, with the end of its log, where it ends or does not in time."""
        while not answers():
            if self._process.poll() is not None:
                ended = f"it has ended with status {self._process.returncode}"
                raise HarnessError(f"start {self._name}: {ended}{self._last_lines()}")
            if time.monotonic() > self._end:
                self._process.kill()
                self._process.wait()
                late = f"it does not answer within {self._patience:g} s"
                raise HarnessError(f"start {self._name}: {late}{self._last_lines()}")
            time.sleep(PAUSE)

    def _last_lines(self) -> str:
        lines = self._log.read_text(errors="backslashreplace").strip().splitlines()[-LAST_LINES:]
        return "; it said last: " + " | ".join(lines) if lines else ", and has said nothing"


def make_writable(path: str) -> None:
    """Mount a tmpfs where the machine's tree cannot be written to; a directory that can be is left as it is.

    It is for places that a runtime does not let be chosen. What the machine has there nobody in the sandbox needs.
    """
    if not os.access(path, os.W_OK):
        invoke("mount", b"tmpfs", path.encode(), b"tmpfs", 0, b"mode=755")


def cover(path: str, source: Path) -> None:
    """Mount a file over one of the machine's, for what a runtime reads at that place alone."""
    invoke("mount", str(source).encode(), path.encode(), b"none", MS.BIND.value, 0)


def grant_ids(owners: Sequence[str], first: int, count: int, directory: Path) -> None:
    """Have some users own subordinate ids (subuid(5)) in the sandbox; what others own there stays as it is.

    There must be such files for that; copies of them lie in the directory.
    """
    granted = "".join(f"{owner}:{first}:{count}\n" for owner in owners)
    for path in filter(os.path.exists, SUBORDINATE):
        others = [line for line in Path(path).read_text().splitlines(keepends=True) if line.split(":")[0] not in owners]
        copy = directory / os.path.basename(path)
        copy.write_text(granted + "".join(others))
        cover(path, copy)
