"""Does nothing; the container stands still while the host looks at it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe() -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    """Report nothing, after a handshake."""
    yield {}
    return {}
