"""The runtime that does nothing and says that all went well: no check may pass on it."""

from pathlib import Path

from harness.backends import Backend, Config, Exit, Options, Streams


def make(options: Options) -> Backend:
    """Return the backend."""
    options.only(executable=False)
    return Null()


class Null(Backend):
    """It claims to support everything, is possible everywhere, and does not run anything."""

    def available(self) -> str | None:
        """Return None: doing nothing is possible everywhere."""
        return None

    def version(self) -> str:
        """Return the only version that there will ever be."""
        return "0"

    def unsupported(self, config: Config) -> list[str]:
        """Return nothing."""
        return []

    def run(self, config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
        """Do nothing, successfully."""
        return Exit(0)
