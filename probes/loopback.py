"""Whether a process can talk to itself over 127.0.0.1 and ::1, and how a closed port answers.

`closed` is the answer of a port just released: ECONNREFUSED where the loopback interface is up,
ENETUNREACH or EADDRNOTAVAIL where it is not.
"""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds

import _kernel


def observe() -> dict[str, object]:
    return {"ipv4": _converse(socket.AF_INET, "127.0.0.1"), "ipv6": _converse(socket.AF_INET6, "::1")}


def _converse(family: int, address: str) -> dict[str, object]:
    port = 9  # discard; nobody listens there in a fresh network namespace
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind((address, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        _connect(family, address, port)
        listener.close()
        outcome: dict[str, object] = {"errno": None}
    except OSError as error:
        outcome = {"errno": _kernel.errno_name(error.errno)}
    return {**outcome, "closed": _kernel.attempt(lambda: _connect(family, address, port))["errno"]}


def _connect(family: int, address: str, port: int) -> None:
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(1.0)
    client.connect((address, port))
    client.close()
