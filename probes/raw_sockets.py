"""Attempts to open sockets that write or read raw packets: raw(7), packet(7), AF_XDP."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds

import _kernel

AF_XDP = 44
IPPROTO_ICMP, IPPROTO_ICMPV6 = 1, 58


def observe() -> dict[str, object]:
    return {
        "icmp": _open(socket.AF_INET, IPPROTO_ICMP),
        "icmpv6": _open(socket.AF_INET6, IPPROTO_ICMPV6),
        "packet": _open(socket.AF_PACKET, 0),
        "xdp": _open(AF_XDP, 0),
    }


def _open(family: int, protocol: int) -> dict[str, object]:
    return _kernel.attempt(lambda: socket.socket(family, socket.SOCK_RAW, protocol).close())
