"""What every kind of bait has: a place of its own, a token, facts about it, a deed, an end."""

import contextlib
import secrets
import shutil
from pathlib import Path

from harness.errors import HarnessError

Facts = dict[str, object]


class Canary:
    """One piece of bait: `place` puts it out, `close` undoes all that was done until then."""

    kills_launcher = False  # whether it is the bait's deed that the launcher ends without a word

    def __init__(self, directory: Path, nonce: str) -> None:
        self.directory = directory
        self.nonce = nonce
        self.token = secrets.token_hex(16)
        self.undo = contextlib.ExitStack()
        self.undo.callback(shutil.rmtree, directory, ignore_errors=True)

    def place(self) -> None:
        """Puts the bait out, and into `undo` how to take it away; arguments come from the scenario."""

    def facts(self) -> Facts:
        """What is true of the bait now. Asked when it is placed, and again when the container has ended."""
        return {}

    def where(self, path: Path) -> Facts:
        """How a scenario speaks of a file: by path, or by directory (to mount that) and name."""
        return {"path": str(path), "name": path.name, "directory": str(path.parent)}

    def act(self, context: Facts) -> Facts:
        """Does the canary's deed while a probe waits (`meanwhile:`) and returns the reply for that probe.

        `context["ready"]` is what the probe said before it began to wait.
        """
        raise HarnessError(f"act canary: a {type(self).__name__} has nothing to do; remove `meanwhile:`")

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        """Changes the process that is about to start the container, and that calls this; `streams` are for it."""

    def close(self) -> None:
        """Removes the bait; does not mind if the container has removed it first."""
        self.undo.close()
