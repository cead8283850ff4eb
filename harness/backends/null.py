"""The runtime that does nothing and says that all went well: no check may pass on it."""

from pathlib import Path

from harness.backends import Config, Exit, Streams


def available() -> str | None:
    """Return None: doing nothing is possible everywhere."""
    return None


def version() -> str:
    """Return the only version that there will ever be."""
    return "0"


def unsupported(config: Config) -> list[str]:
    """Return nothing: it claims to support everything."""
    return []


def run(config: Config, bundle: Path, io: Streams, deadline: float) -> Exit:
    """Do nothing, successfully."""
    return Exit(0)
