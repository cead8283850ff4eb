"""Whether a process runs the launcher's own executable, also asked in the midst of its execve(2)."""

import os
import sys
import time

from harness.runtime import executable


def _child(program: list[str], after: float) -> int:
    """Fork a process that is a copy of this one for a while, and executes a program then."""
    pid = os.fork()
    if pid == 0:
        time.sleep(after)
        os.execv(program[0], program)
    return pid


def _asked_of(program: list[str], after: float = 0.2) -> bool:
    pid = _child(program, after)
    try:
        return executable.is_our_own(pid)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_a_process_that_has_not_executed_its_program_yet_is_not_taken_for_the_launchers() -> None:
    assert not _asked_of(["/bin/sleep", "60"])


def test_a_process_that_has_executed_the_launchers_executable_is() -> None:
    assert _asked_of([os.path.realpath(sys.executable), "-c", "import time; time.sleep(60)"])


def test_a_process_that_has_ended_is_not() -> None:
    assert not _asked_of(["/bin/true"])
