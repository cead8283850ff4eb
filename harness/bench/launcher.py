"""Launchers in processes of their own, asked from this one: `harness.bench.launcher_process`.

The executor that forks copies its process, so what it takes depends on who asks for it. These are small, and nothing of
what this process holds or does gets in their way.
"""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bench.series import Round
from harness.errors import HarnessError
from harness.outer import command
from harness.runtime.config import Config

PATIENCE = 60.0  # seconds that one gets to end what it has started


class Launcher:
    """One launcher, larger than need be by so many MB; use it as a context.

    `within` is a command that enters another place first.
    """

    def __init__(self, megabytes: int = 0, within: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*within, *command("harness.bench.launcher_process"), str(megabytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for this process, which then has it end in order
        )

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(self, *_error: object) -> None:
        """Have it undo everything. Its containers die with it, should it not be able to."""
        with self._process as process:
            assert process.stdin
            try:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            finally:
                process.kill()

    def prepare(self, config: Config, bundle: Path, forked: bool = False, pooled: bool = False) -> "Container":
        """Prepare a container to be started any number of times. Raises HarnessError."""
        found = self.ask(prepare=config, bundle=str(bundle), forked=forked, pooled=pooled)
        return Container(self, found["container"], found["executor"])

    def ask(self, **request: object) -> dict[str, Any]:
        """Return the answer to a request. Raises HarnessError."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise HarnessError("launcher: the process that was to start containers has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HarnessError(answer["error"])
        return answer


@dataclass(frozen=True, slots=True)
class Container:
    """A container that a launcher has prepared; `executor` is what starts it there: replay, forked or pooled."""

    launcher: Launcher
    number: int
    executor: str

    def start(self) -> Round:
        """Start it once, and wait for its end. Raises HarnessError."""
        return Round(**self.launcher.ask(start=self.number))

    def have_alive(self, wanted: int) -> None:
        """Have so many of it alive, which are started or ended: asleep, if that is its program. Raises HarnessError."""
        self.launcher.ask(alive=wanted, container=self.number)
