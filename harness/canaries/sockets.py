"""Bait that listens, and interfaces that come and go."""

import contextlib
import os
import socket
import struct

from harness import bait, rtnetlink
from harness.canaries.base import Canary, Facts
from harness.errors import HarnessError

MEBIBYTE = 1 << 20


class Tcp(Canary):
    """Listeners with one port on the host's loopback addresses and on one that looks like a network card's.

    A connection succeeds before anyone accepts it (listen(2), backlog), so they are counted when facts
    are asked for. An address that this host does not have (no IPv6, say) is left out; `addresses` says
    which ones are served.
    """

    def place(self, addresses: tuple[str, ...] = ("127.0.0.1", "::1", "192.0.2.1")) -> None:
        self.accepted = 0
        self.listeners: dict[str, socket.socket] = {}
        self.port = 0  # the kernel chooses for the first address, and no one else lives in this namespace
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with contextlib.suppress(OSError):  # EAFNOSUPPORT, EADDRNOTAVAIL: the host has no such address
                listener = self.undo.enter_context(bait.listen(family, (address, self.port)))
                self.listeners[address] = listener
                self.port = listener.getsockname()[1]
        if not self.listeners:
            raise HarnessError(f"place canary tcp: no address of {', '.join(addresses)} is here; is lo up?")

    def facts(self) -> Facts:
        self.accepted += sum(1 for listener in self.listeners.values() for _ in bait.visitors(listener))
        return {
            "port": self.port,
            "addresses": list(self.listeners),
            "accepted": self.accepted,
            "inodes": [os.fstat(listener.fileno()).st_ino for listener in self.listeners.values()],
        }


class Socket(Canary):
    """A Unix socket at a path, open to everyone; tells who came, as the host sees them (unix(7))."""

    def place(self) -> None:
        self.path = self.directory / "service"
        self.listener = self.undo.enter_context(bait.listen(socket.AF_UNIX, str(self.path)))
        self.path.chmod(0o666)
        self.peers: list[dict[str, int]] = []

    def facts(self) -> Facts:
        for visitor in bait.visitors(self.listener):
            credentials = visitor.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
            pid, uid, gid = struct.unpack("iII", credentials)
            self.peers.append({"pid": pid, "uid": uid, "gid": gid})
        return {
            **self.where(self.path),
            "pid": os.getpid(),
            "inode": os.fstat(self.listener.fileno()).st_ino,
            "accepted": len(self.peers),
            "peers": self.peers,
        }


class Abstract(Canary):
    """A Unix socket of each type, without file and permissions: only the network namespace keeps them apart (unix(7)).

    All have one name. Who connects is a visitor, and so is a datagram.
    """

    def place(self) -> None:
        self.name = f"isoproof-canary-{self.token}"
        kinds = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)
        places = [bait.listen(socket.AF_UNIX, f"\0{self.name}", kind) for kind in kinds]
        *self.listeners, self.mailbox = [self.undo.enter_context(place) for place in places]
        self.accepted = 0

    def facts(self) -> Facts:
        self.accepted += sum(1 for listener in self.listeners for _ in bait.visitors(listener))
        self.accepted += sum(1 for _ in bait.datagrams(self.mailbox))
        return {
            "name": self.name,
            "inodes": [os.fstat(place.fileno()).st_ino for place in (*self.listeners, self.mailbox)],
            "accepted": self.accepted,
        }


class Interface(Canary):
    """A pair of network interfaces (veth(4)); its act makes a second pair and removes it again.

    The reply says how many of the kernel's messages about the second pair the host itself heard, so that
    silence inside means something.
    """

    def place(self) -> None:
        self.names = [f"iso{self.token[:8]}{end}" for end in "ab"]
        self.brief = [f"iso{self.token[:8]}{end}" for end in "cd"]
        rtnetlink.add_veth(*self.names)
        self.undo.callback(rtnetlink.delete_if_there, self.names[0])
        self.undo.callback(rtnetlink.delete_if_there, self.brief[0])

    def facts(self) -> Facts:
        present = {name for _, name in socket.if_nameindex()}
        return {"names": self.names, "brief": self.brief, "present": present.issuperset(self.names)}

    def act(self, context: Facts) -> Facts:
        with rtnetlink.listen_for_uevents() as listener:
            rtnetlink.add_veth(*self.brief)
            rtnetlink.delete_if_there(self.brief[0])
            return {"heard": sum(self.brief[0] in event for event in rtnetlink.received(listener))}
