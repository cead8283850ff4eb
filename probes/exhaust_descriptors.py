"""Opens pseudoterminals, then sockets, until the kernel refuses or there are enough."""

from __future__ import annotations

import _socket
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def observe(terminals: int, sockets: int) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report of `terminals` and `sockets` how many were `opened`, at most so many, and the errno of the refusal.

    `highest` is the greatest number of a descriptor. All are held until the handshake is over.
    """
    held: list[int] = []
    facts: dict[str, object] = {
        "terminals": _open(held, terminals, lambda: os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)),
        "sockets": _open(held, sockets, lambda: _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM).detach()),
        "highest": max(held, default=None),
    }
    yield facts
    return facts


def _open(held: list[int], most: int, action: Callable[[], int]) -> dict[str, object]:
    for opened in range(most):
        try:
            held.append(action())
        except OSError as error:
            return {"opened": opened, "errno": _kernel.errno_name(error.errno)}
    return {"opened": most, "errno": None}
