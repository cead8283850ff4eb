"""Attempts at what needs CAP_NET_ADMIN: interface flags, a new interface, a route, packet filter rules.

Each would change nothing: the flags are those that lo has, and the other requests name an interface that
cannot exist or hold no command. The kernel asks for the capability first (EPERM), so any other answer
shows that it was there.
"""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds
import fcntl
import os
import struct

import _kernel

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914  # netdevice(7)
NETLINK_NETFILTER = 12
RTM_NEWLINK, RTM_NEWROUTE, NFNL_MSG_BATCH_BEGIN = 16, 24, 0x10
NFNL_SUBSYS_NFTABLES = 10
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLMSG_ERROR = 2
NO_INTERFACE = 0x7FFF_FFF0
RTA_DST, RTA_OIF = 1, 4


def observe() -> dict[str, object]:
    link = struct.pack("=BxHiII", 0, 0, NO_INTERFACE, 0, 0)  # struct ifinfomsg
    destination = struct.pack("=HH4s", 8, RTA_DST, bytes((198, 51, 100, 0)))
    device = struct.pack("=HHI", 8, RTA_OIF, NO_INTERFACE)
    # struct rtmsg: family, prefix length, -, -, table main, protocol static, scope link, unicast
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, 254, 4, 253, 1, 0) + destination + device
    batch = struct.pack("=BBH", 0, 0, socket.htons(NFNL_SUBSYS_NFTABLES))  # struct nfgenmsg
    return {
        "interface_flags": _kernel.attempt(_set_flags),
        "new_link": _kernel.attempt(lambda: _request(socket.NETLINK_ROUTE, RTM_NEWLINK, link)),
        "new_route": _kernel.attempt(lambda: _request(socket.NETLINK_ROUTE, RTM_NEWROUTE, route)),
        "netfilter": _kernel.attempt(lambda: _request(NETLINK_NETFILTER, NFNL_MSG_BATCH_BEGIN, batch)),
    }


def _set_flags() -> None:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flags = fcntl.ioctl(channel.fileno(), SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
    fcntl.ioctl(channel.fileno(), SIOCSIFFLAGS, flags)


def _request(protocol: int, kind: int, payload: bytes) -> None:
    """One netlink request; raises OSError with the errno that the kernel's answer holds (netlink(7))."""
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    channel.settimeout(0.2)  # netfilter does not answer a batch that it accepts
    channel.send(struct.pack("=IHHII", 16 + len(payload), kind, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + payload)
    try:
        answer = channel.recv(8192)
    except TimeoutError:
        return
    number, code = struct.unpack_from("=H", answer, 4)[0], -struct.unpack_from("=i", answer, 16)[0]
    if number == NLMSG_ERROR and code:
        raise OSError(code, os.strerror(code))
