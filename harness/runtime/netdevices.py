"""Interfaces of the host's that are lent to a container: linux.netDevices of the runtime-spec.

The kernel shuts an interface down when it moves and takes its addresses, so those that were meant to last are given
back on the other side, here as there. In the end, or when a start fails, the interface comes home: virtual ones would
perish with the container's namespace, as they do when the launcher is killed. Routes are not brought back.
"""

import os
import socket
import struct
from collections.abc import Iterator

from harness.runtime import network
from harness.runtime.config import Config, namespaces
from harness.runtime.errors import BadInput, ConfigError
from harness.runtime.step import Call, Filled, Host, Saved, Step
from harness.runtime.syscalls import AT_FDCWD, CLONE, O

# rtnetlink(7), include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR = 0x1, 0x300, 3, 2
RTM_GETADDR, IFLA_NET_NS_FD = 22, 28
IFA_F_PERMANENT, RT_SCOPE_UNIVERSE = 0x80, 0
OWN = "/proc/self/ns/net"
LONGEST_ANSWER = 1 << 16


def wanted(config: Config) -> dict[str, str]:
    """Return the names that interfaces of the host's are to have inside, by the names that they have here."""
    devices = config.get("linux", {}).get("netDevices", {})
    return {name: entry.get("name", name) for name, entry in devices.items()}


def addresses(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the lasting addresses of the interfaces to lend, by their names.

    Raises BadInput for an interface that is not there.
    """
    if not wanted(config):
        return {}
    numbers = {name: number for number, name in socket.if_nameindex()}
    for name in wanted(config):
        if name not in numbers:
            raise BadInput(f"config.json: linux.netDevices.{name}: the host has no such interface: ip link")
    found = list(_all_addresses())
    return {name: tuple(text for number, text in found if number == numbers[name]) for name in wanted(config)}


def check(config: Config, host: Host) -> None:
    """Hold the interfaces to what can be had. Raises ConfigError."""
    taken = ["lo", *(cable["name"] for cable in config.get("linux", {}).get("veth", []))]
    for name, inside in wanted(config).items():
        field = f"config.json: linux.netDevices.{name}"
        if "network" not in namespaces(config) or "network" in host.shared:
            raise ConfigError(f"{field}: needs a namespace of type network other than the launcher's")
        if host.rootless:
            raise ConfigError(f"{field}: takes CAP_NET_ADMIN on the host, which an ordinary user has not")
        if name == "lo":
            raise ConfigError(f"{field}: every network namespace has a loopback interface, and keeps it")
        if inside in taken:
            raise ConfigError(f"{field}: there is another {inside} inside")
        taken.append(inside)


def lend(config: Config, host: Host) -> list[Step]:
    """Move each interface into the child's network namespace, and home again in the end.

    The step that moves has no undo, for where it fails the interface is still here; the next one has it.
    """
    steps = []
    for name, inside in wanted(config).items():
        home, away = Saved(f"home-of-{name}"), Saved(f"away-of-{name}")
        opened = (
            Call("openat", (AT_FDCWD, OWN, O.CLOEXEC), saves=home.name),
            Call("openat", (AT_FDCWD, Filled("/proc/{pid}/ns/net"), O.CLOEXEC), saves=away.name),
        )
        closed = (Call("close", (home,)), Call("close", (away,)))
        there = (network.open_socket(), *network.move(name, inside, away, IFLA_NET_NS_FD), network.CLOSE)
        stay = Call("setns", (home, CLONE.NEWNET))
        back = (
            Call("setns", (away, CLONE.NEWNET)),
            network.open_socket(),  # which stays in that namespace
            stay,
            *network.move(inside, name, home, IFLA_NET_NS_FD),
            network.CLOSE,
            *network.set_up(name, *host.addresses[name]),
        )
        steps += [
            Step(f"both-networks:{name}", "kept, or the way home would end with the child: setns(2)", opened, closed),
            Step(f"net-device:{name}", "into the namespace of the child: rtnetlink(7)", there),
            Step(f"stay-home:{name}", "what has gone is fetched in the end: setns(2)", (stay,), back),
        ]
    return steps


def set_up(config: Config, host: Host) -> list[Step]:
    """Give each interface inside the addresses that it had, and bring it up."""
    why = "the move has shut it down and taken its addresses: rtnetlink(7)"
    return [
        Step(f"set-up:{inside}", why, network.set_up(inside, *host.addresses[name]))
        for name, inside in wanted(config).items()
    ]


def _all_addresses() -> Iterator[tuple[int, str]]:
    """Yield the number of the interface and the text of each lasting, global address of this network namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as channel:
        channel.send(struct.pack("=IHHIIB7x", 24, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, socket.AF_UNSPEC))
        while True:
            answer = channel.recv(LONGEST_ANSWER)
            while answer:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", answer, network.NLMSG_ERROR_AT)[0]
                    raise OSError(number, os.strerror(number))
                if kind == NLMSG_DONE:
                    return
                yield from _address(answer[16:length])
                answer = answer[(length + 3) & ~3 :]


def _address(message: bytes) -> Iterator[tuple[int, str]]:
    """Yield what a struct ifaddrmsg and its attributes say, if it is an address that was meant to last."""
    family, prefix, flags, scope, number = struct.unpack_from("=4BI", message)
    found: dict[int, bytes] = {}
    rest = message[8:]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        found[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    if flags & IFA_F_PERMANENT and scope == RT_SCOPE_UNIVERSE:
        # IFA_LOCAL is the interface's own where there is a peer, whose address IFA_ADDRESS is then; IPv6 has no other.
        own = found.get(network.IFA_LOCAL, found[network.IFA_ADDRESS])
        yield number, f"{socket.inet_ntop(family, own)}/{prefix}"
