"""An attempt to connect to a TCP port at each of several addresses (connect(2))."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds

import _kernel


def observe(addresses: list[str], port: int, seconds: float = 1.0) -> dict[str, object]:
    return {address: _attempt(address, port, seconds) for address in addresses}


def _attempt(address: str, port: int, seconds: float) -> dict[str, object]:
    return _kernel.attempt(lambda: _connect(address, port, seconds))


def _connect(address: str, port: int, seconds: float) -> None:
    client = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(seconds)
    client.connect((address, port))
    client.close()
