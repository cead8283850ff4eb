"""The kernel's messages about devices, heard while the host makes and removes a network interface.

Messages about a network interface go to its own network namespace only. `events` are their first lines,
such as `add@/devices/virtual/net/eth0`; `host` is what the host's own act reported.
"""

from __future__ import annotations

import _socket as socket  # the module socket costs nine milliseconds

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1


def observe() -> Generator[dict[str, object], dict[str, object], dict[str, object]]:
    try:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
        listener.setblocking(False)
        listener.bind((0, KERNEL_GROUP))
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "events": [], "host": {}}
    reply = yield {}
    events = []
    try:
        while True:
            events.append(listener.recv(8192).split(b"\0")[0].decode(errors="replace"))
    except BlockingIOError:  # the kernel delivers before the host's act returns, so there is nothing to wait for
        return {"errno": None, "events": events, "host": reply}
