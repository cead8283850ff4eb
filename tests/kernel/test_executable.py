"""Whether a process runs the launcher's own executable, also asked in the midst of its execve(2)."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from harness.runtime import executable

PATIENCE = 30.0  # seconds; who waits for what will never be would wait for ever


def _child(program: list[str], after: float) -> int:
    """Fork a process that is a copy of this one for a while, and then executes a program, or ends if there is none."""
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(after)
            if program:
                os.execv(program[0], program)
        finally:
            os._exit(0)
    return pid


def _asked_of(program: list[str], after: float = 0.2) -> bool:
    pid = _child(program, after)
    with ThreadPoolExecutor(1) as threads:
        try:
            return threads.submit(executable.is_our_own, pid).result(PATIENCE)
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def test_a_process_that_has_not_executed_its_program_yet_is_not_taken_for_the_launchers() -> None:
    assert not _asked_of(["/bin/sleep", "60"])


def test_a_process_that_has_executed_the_launchers_executable_is() -> None:
    assert _asked_of([os.path.realpath(sys.executable), "-c", "import time; time.sleep(60)"])


def test_a_process_that_has_ended_is_not() -> None:
    assert not _asked_of(["/bin/true"])


def test_a_process_that_ends_without_having_executed_a_program_is_not_waited_for() -> None:
    """So does one that a filter kills at its execve(2). Nobody has reaped it, so its flags stay what they were."""
    assert not _asked_of([])
