"""Network interfaces made and removed without a tool: rtnetlink(7), in the network namespace of the caller.

Also the messages that the kernel sends about them (NETLINK_KOBJECT_UEVENT, what udev listens to).
"""

import contextlib
import errno
import os
import socket
import struct

RTM_NEWLINK, RTM_DELLINK = 16, 17  # rtnetlink(7)
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400  # netlink(7)
NLMSG_ERROR = 2
IFLA_IFNAME, IFLA_LINKINFO = 3, 18  # linux/if_link.h
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1  # below IFLA_LINKINFO; linux/veth.h
NETLINK_KOBJECT_UEVENT = 15
UEVENTS_OF_THE_KERNEL = 1  # the multicast group; 2 is udev's

_INTERFACE = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port


def add_veth(name: str, peer: str) -> None:
    """Makes two interfaces joined by a cable (veth(4)); OSError: EPERM, EEXIST, EOPNOTSUPP (no driver)."""
    nothing = _INTERFACE.pack(0, 0, 0, 0, 0)
    far_end = _attribute(VETH_INFO_PEER, nothing + _attribute(IFLA_IFNAME, peer.encode() + b"\0"))
    kind = _attribute(IFLA_INFO_KIND, b"veth") + _attribute(IFLA_INFO_DATA, far_end)
    attributes = _attribute(IFLA_IFNAME, name.encode() + b"\0") + _attribute(IFLA_LINKINFO, kind)
    _request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, nothing + attributes)


def delete_if_there(name: str) -> None:
    """Removes an interface, and with it the other end of its cable; none of that name is fine."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return
    _request(RTM_DELLINK, 0, _INTERFACE.pack(0, 0, index, 0, 0))


def listen_for_uevents() -> socket.socket:
    """A socket that hears what the kernel says about devices of this network namespace."""
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
    listener.setblocking(False)
    listener.bind((0, UEVENTS_OF_THE_KERNEL))
    return listener


def received(listener: socket.socket) -> list[str]:
    """The messages that have come up to now, such as `add@/devices/virtual/net/eth0\\0ACTION=add\\0…`.

    The kernel sends them before it answers the request that caused them, so there is nothing to wait for.
    """
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(listener.recv(8192).decode(errors="replace"))
    return messages


def _attribute(kind: int, payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(padding)


def _request(kind: int, flags: int, payload: bytes) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        header = _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0)
        channel.send(header + payload)
        answer = channel.recv(8192)
    if struct.unpack_from("=H", answer, 4)[0] != NLMSG_ERROR:
        raise OSError(errno.EBADMSG, "the kernel did not acknowledge the request")
    code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if code:
        raise OSError(code, os.strerror(code))
