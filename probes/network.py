"""The network that a process sees: interfaces and sockets, by every road that leads to such a list.

`names` by if_nameindex(3), `links` by rtnetlink(7), `sysfs` and `devices` from /sys/class/net and
/proc/net/dev (null where these are missing). `tcp`, `udp` (local ports) and `unix` (paths) are from
/proc/net, `inodes` the sockets listed there, `diag` those that sock_diag(7) lists, without the probe's
own. `addresses` are those of each interface with their prefixes, but for loopback and link-local ones. `routes` are
interfaces with a route, `arp` the neighbours' addresses. `cookie` is the network namespace's own number
(SO_NETNS_COOKIE, socket(7)), which needs no /proc.
"""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds
import os
import struct

import _kernel

SO_NETNS_COOKIE = 71
NETLINK_SOCK_DIAG = 4
RTM_GETLINK, RTM_GETADDR, SOCK_DIAG_BY_FAMILY = 18, 22, 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_IFNAME, IFA_ADDRESS, RT_SCOPE_UNIVERSE = 3, 1, 0
IPPROTO_TCP, IPPROTO_UDP = 6, 17
EVERY_STATE = 0xFFFF_FFFF


def observe() -> dict[str, object]:
    inet = [*_table("tcp"), *_table("tcp6"), *_table("udp"), *_table("udp6")]
    unix = _table("unix")
    return {
        "cookie": _cookie(),
        "names": sorted(name for _, name in socket.if_nameindex()),
        "links": _links(),
        "addresses": _addresses(),
        "sysfs": _sysfs(),
        "devices": sorted(line.split(":")[0].strip() for line in _lines("dev")[1:]),
        "tcp": sorted({_port(fields) for fields in [*_table("tcp"), *_table("tcp6")]}),
        "udp": sorted({_port(fields) for fields in [*_table("udp"), *_table("udp6")]}),
        "unix": sorted({fields[7] for fields in unix if len(fields) > 7}),
        "inodes": sorted({int(fields[9]) for fields in inet} | {int(fields[6]) for fields in unix} - {0}),
        "diag": _diag(),
        "routes": sorted({fields[0] for fields in _table("route")}),
        "arp": sorted({fields[0] for fields in _table("arp")}),
    }


def _cookie() -> int | None:
    with_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        return int(struct.unpack("=Q", with_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])
    except OSError:
        return None  # ENOPROTOOPT: before Linux 5.14
    finally:
        with_socket.close()


def _lines(table: str) -> list[str]:
    """A table of /proc/net without its heading."""
    return _kernel.read_text(f"/proc/net/{table}").splitlines()[1:]


def _table(table: str) -> list[list[str]]:
    return [line.split() for line in _lines(table)]


def _port(fields: list[str]) -> int:
    return int(fields[1].rpartition(":")[2], 16)


def _sysfs() -> list[str] | None:
    try:
        return sorted(os.listdir("/sys/class/net"))
    except OSError:
        return None


def _links() -> list[str]:
    interface = struct.pack("=BxHiII", 0, 0, 0, 0, 0)  # struct ifinfomsg
    return sorted(_name(message[16:]) for message in _dump(socket.NETLINK_ROUTE, RTM_GETLINK, interface))


def _addresses() -> dict[str, list[str]]:
    names = dict(socket.if_nameindex())
    found: dict[str, list[str]] = {}
    for message in _dump(socket.NETLINK_ROUTE, RTM_GETADDR, bytes(8)):  # struct ifaddrmsg
        family, prefix, _flags, scope, interface = struct.unpack_from("=4BI", message)
        if scope == RT_SCOPE_UNIVERSE and interface in names:
            address = socket.inet_ntop(family, _attribute(message[8:], IFA_ADDRESS))
            found.setdefault(names[interface], []).append(f"{address}/{prefix}")
    return found


def _name(attributes: bytes) -> str:
    return _attribute(attributes, IFLA_IFNAME).rstrip(b"\0").decode()


def _attribute(attributes: bytes, wanted: int) -> bytes:
    while attributes:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == wanted:
            return attributes[4:length]
        attributes = attributes[(length + 3) & ~3 :]
    return b""


def _diag() -> list[int]:
    """Inodes of all TCP, UDP and Unix sockets, by inet_diag_req_v2 and unix_diag_req (sock_diag(7))."""
    inodes = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for protocol in (IPPROTO_TCP, IPPROTO_UDP):
            request = struct.pack("=BBxxI48x", family, protocol, EVERY_STATE)
            inodes |= {_inode(message, 68) for message in _dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request)}
    request = struct.pack("=BBxxIIIII", socket.AF_UNIX, 0, EVERY_STATE, 0, 0, 0, 0)
    inodes |= {_inode(message, 4) for message in _dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request)}
    return sorted(inodes - {0})


def _inode(message: bytes, offset: int) -> int:
    return int(struct.unpack_from("=I", message, offset)[0])


def _dump(protocol: int, kind: int, payload: bytes) -> list[bytes]:
    """The answers to one dump request, without headers; none where the kernel lacks it (netlink(7))."""
    try:
        channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    except OSError:
        return []
    channel.settimeout(2.0)
    channel.send(struct.pack("=IHHII", 16 + len(payload), kind, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + payload)
    answers: list[bytes] = []
    while True:
        data = channel.recv(1 << 16)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                channel.close()
                return answers
            answers.append(data[16:length])
            data = data[(length + 3) & ~3 :]
