"""Which parts of the kernel can be spoken to by netlink(7), and whose announcements can be heard."""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds
import os
import struct

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOLS = 32  # MAX_LINKS of the kernel
NAMES = {0: "route", 6: "xfrm", 9: "audit", 11: "connector", 12: "netfilter"}
GROUPS = {"xfrm": 6, "audit": 9, "netfilter": 12}  # of the first group of each not everybody may hear
CONNECTOR = 11
CN_IDX_PROC, CN_VAL_PROC = 1, 1
PROC_CN_MCAST_LISTEN, PROC_CN_MCAST_IGNORE = 1, 2
NLMSG_DONE = 3


def observe() -> dict[str, object]:
    """Report `protocols`, `groups` and `processes`.

    `protocols` are the errnos of a socket for each protocol, by its name or number, `groups` attempts to join the first
    group of some. `processes` tells how asking for news of all processes ended, and how many messages were `heard`
    while a child was forked.
    """
    return {
        "protocols": {NAMES.get(number, str(number)): _attempt(_open, number)["errno"] for number in range(PROTOCOLS)},
        "groups": {name: _attempt(_join, number) for name, number in GROUPS.items()},
        "processes": _processes(),
    }


def _attempt(make: Callable[[int], socket.socket], protocol: int) -> dict[str, object]:
    return _kernel.attempt(lambda: make(protocol).close())


def _open(protocol: int) -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, protocol)


def _join(protocol: int) -> socket.socket:
    listener = _open(protocol)
    listener.bind((0, 1))  # a mask of groups
    return listener


def _processes() -> dict[str, object]:
    try:
        listener = _join(CONNECTOR)
        listener.send(_request(PROC_CN_MCAST_LISTEN))
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "heard": 0}
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    heard = 0
    listener.setblocking(False)
    try:
        while listener.recv(4096):  # the kernel delivers while it forks, so there is nothing to wait for
            heard += 1
    except BlockingIOError:
        listener.send(_request(PROC_CN_MCAST_IGNORE))
    return {"errno": None, "heard": heard}


def _request(operation: int) -> bytes:
    content = struct.pack("=IIIIHHI", CN_IDX_PROC, CN_VAL_PROC, 0, 0, 4, 0, operation)  # struct cn_msg
    return struct.pack("=IHHII", 16 + len(content), NLMSG_DONE, 0, 0, 0) + content
