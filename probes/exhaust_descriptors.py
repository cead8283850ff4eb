"""Opens pseudoterminals, then sockets, until the kernel refuses or there are enough."""

from __future__ import annotations

import _socket
import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def observe(terminals: int, sockets: int) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report of `terminals` and `sockets` the `count` of those opened, at most so many, and the errno of the refusal.

    `highest` is the greatest number of a descriptor. All are held until the handshake is over.
    """
    held: list[int] = []

    def terminal(_: int) -> None:
        held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))

    def socket(_: int) -> None:
        held.append(_socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM).detach())

    facts: dict[str, object] = {
        "terminals": _kernel.until_refused(terminal, terminals),
        "sockets": _kernel.until_refused(socket, sockets),
        "highest": max(held, default=None),
    }
    yield facts
    return facts
