"""Running a runtime's command: the process that starts a container, watched to its end."""

import contextlib
import functools
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.backends import Backend, Options, Streams
from harness.runtime.privileges import DEFAULT_PATH

LATE = 124  # the status of a command that was killed at the deadline, as of timeout(1)
PATIENCE = 20.0  # seconds that a question to a runtime, such as for its version, may take
LONGEST = 1 << 20  # bytes of an answer that are read
VERSION = re.compile(r"\d+(\.\d+)+\S*")


class Command(Backend):
    """A runtime that is a command; `package` is Debian's that has it, `root` why it takes root, if it does."""

    program: str
    package: str = ""
    root: str = ""

    def __init__(self, options: Options) -> None:
        self.program = options.executable or self.program
        self.shipped = options.shipped

    def available(self) -> str | None:
        """Return why it cannot be used here, or None."""
        if self.root and os.geteuid() != 0:
            return self.root
        return missing(self.program, self.package)

    def version(self) -> str:
        """Return the version that it says it is."""
        return version_of(self.program, "--version")


def found(name: str) -> str | None:
    """Return the path of a program: on PATH, or where system programs are, which an ordinary user's PATH lacks."""
    if "/" in name:
        return name if os.path.isfile(name) and os.access(name, os.X_OK) else None
    return _searched(name, f"{os.environ.get('PATH', '')}:{DEFAULT_PATH}")


@functools.cache
def _searched(name: str, path: str) -> str | None:
    """Search once in a process: a runtime is asked for each check whether it is there, and may need five programs."""
    return shutil.which(name, path=path)


def path_to(name: str) -> str:
    """Return the path of a program, or its name where it is not found, for the one who starts it to complain about."""
    return found(name) or name


def missing(name: str, package: str) -> str | None:
    """Return that a program is not there, and which of Debian's packages has it, if one has; None where it is there."""
    if found(name):
        return None
    if "/" in name:
        return f"no program at {name}"
    remedy = f"Debian's package {package} has it" if package else "no Debian package has it"
    return f"{name} is not installed ({remedy})"


def version_of(*command: str) -> str:
    """Return the first thing that looks like a version in what a command says, or the first line of that."""
    said = answer(*command)
    match = VERSION.search(said)
    return match[0] if match else said.partition("\n")[0].strip()


def answer(*command: str) -> str:
    """Return what a command prints on both outputs, whether it fails or not; nothing if it does not end in time.

    A command that goes on and on is killed, and what it has said until then is its answer.
    """
    end = time.monotonic() + PATIENCE
    said = b""
    try:
        process = subprocess.Popen(
            [path_to(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    except OSError:
        return ""
    assert process.stdout
    with process.stdout as output:
        while len(said) < LONGEST and select.select([output], [], [], max(0.0, end - time.monotonic()))[0]:
            if not (data := os.read(output.fileno(), 1 << 16)):
                break
            said += data
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()) if len(said) < LONGEST else 0)
        late = process.poll() is None and len(said) < LONGEST
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "" if late else said.decode(errors="backslashreplace")


def quietly(words: Sequence[str], deadline: float) -> None:
    """Run a command of which nobody wants to hear; it may hang, or not be there."""
    with open(os.devnull, "r+b") as nothing, contextlib.suppress(OSError):
        run(words, (nothing.fileno(),) * 3, deadline)


def within(*preparations: str) -> list[str]:
    """Return what runs a command in a mount namespace of its own, after preparations in a shell's words.

    So the host's places are others for the runtime alone, and nothing of them is left. What is shared with the host
    stays so: whether mounts get in or out is for the runtime to decide.
    """
    script = " && ".join([*preparations, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script, "sh"]


def run(
    command: Sequence[str],
    io: Streams,
    deadline: float,
    environment: Mapping[str, str] | None = None,
    attend: Callable[[int, float], None] | None = None,
    directory: Path | None = None,
) -> int:
    """Run a command to its end and return its status as shells give it, or LATE; its process group is gone then.

    What else the launcher has, open descriptors and a session, is for the runtime to keep from the container, so it is
    handed on. `attend` is called with a pidfd and the end in terms of time.monotonic(), and may copy meanwhile.
    """
    end = time.monotonic() + deadline
    process = subprocess.Popen(
        command,
        stdin=io[0],
        stdout=io[1],
        stderr=io[2],
        env=environment,
        cwd=directory,
        close_fds=False,
        process_group=0,
    )
    # It tells the end at once; wait with a timeout looks, naps and looks again.
    pidfd = os.pidfd_open(process.pid)
    try:
        if attend:
            attend(pidfd, end)
        ended = select.select([pidfd], [], [], max(0.0, end - time.monotonic()))[0]
        status = process.wait() if ended else LATE
    finally:
        os.close(pidfd)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return 128 - status if status < 0 else status
