"""Attempts to speak to Unix sockets of each type that have a name and no file: unix(7)."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds

import _kernel

TYPES = {"stream": socket.SOCK_STREAM, "packets": socket.SOCK_SEQPACKET, "datagrams": socket.SOCK_DGRAM}


def observe(name: str) -> dict[str, object]:
    """Report for each type how connecting ended, and sending one byte after that."""
    return {kind: _attempt(name, number) for kind, number in TYPES.items()}


def _attempt(name: str, kind: int) -> dict[str, object]:
    return _kernel.attempt(lambda: _speak(name, kind))


def _speak(name: str, kind: int) -> None:
    client = socket.socket(socket.AF_UNIX, kind)
    client.settimeout(2.0)
    client.connect(f"\0{name}")
    client.send(b".")
    client.close()
