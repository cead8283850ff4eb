"""The network namespace begins empty: one interface, lo, and that one down. network_namespaces(7)."""

import struct

from harness.runtime.config import Config, own
from harness.runtime.step import Call, Packed, Saved, Step
from harness.runtime.syscalls import IFF_UP, SIOCSIFFLAGS

AF_INET = 2
SOCK_DGRAM = 2
SOCK_CLOEXEC = 0o2000000


def raise_loopback(config: Config) -> list[Step]:
    """Bring up lo; a new network namespace has it, but down. A joined one is its owner's to set up."""
    if "network" not in own(config):
        return []
    request = Packed(struct.pack("16sh22x", b"lo", IFF_UP), 'ifr_name="lo", ifr_flags=IFF_UP')
    calls = (
        Call("socket", (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), saves="socket"),
        Call("ioctl", (Saved("socket"), SIOCSIFFLAGS, request)),
        Call("close", (Saved("socket"),)),
    )
    return [
        Step(
            "loopback",
            "a new network namespace has lo, but down: network_namespaces(7), netdevice(7)",
            calls,
        )
    ]
