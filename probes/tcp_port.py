"""Attempts to bind a TCP socket to a port, and to connect to that port, where nobody listens (ECONNREFUSED)."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds

import _kernel


def observe(port: int) -> dict[str, object]:
    address = ("127.0.0.1", port)
    return {
        "bind": _kernel.attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(address)),
        "connect": _kernel.attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(address)),
    }
