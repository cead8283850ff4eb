"""The network namespace begins empty: one interface, lo, and that one down. network_namespaces(7).

What the config declares is added, and nothing else: cables to the host (veth(4)), laid by the launcher while the child
waits, because only it stands at both ends. The kernel is asked by netlink, where an error is not the result of a call
but stands in the message that answers it: rtnetlink(7).
"""

import errno
import struct

from harness.runtime.config import Config, own
from harness.runtime.errors import ConfigError
from harness.runtime.kinds import packed_address
from harness.runtime.step import Answer, Call, Host, Packed, Record, Saved, Step
from harness.runtime.syscalls import IFF_UP, SIOCGIFINDEX, SIOCSIFFLAGS

AF_INET, AF_INET6, AF_NETLINK = 2, 10, 16
SOCK_DGRAM, SOCK_RAW = 2, 3
SOCK_CLOEXEC = 0o2000000

# netlink(7), rtnetlink(7), include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,veth}.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_NEWROUTE = 16, 17, 20, 24
IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_PID = 3, 18, 19
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x2
RTA_OIF, RTA_GATEWAY, RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 4, 5, 254, 4, 1
NLMSG_ERROR_AT = 16  # where struct nlmsgerr begins in a message, with the errno, negative

Members = tuple[tuple[str, int | bytes | Packed | Record | Saved | None], ...]
NO_INTERFACE = struct.pack("=BxHiII", 0, 0, 0, 0, 0)  # struct ifinfomsg
CLOSE = Call("close", (Saved("socket"),))


def check(config: Config, host: Host) -> None:
    """Hold the cables to what can be had. Raises ConfigError."""
    cables = config.get("linux", {}).get("veth", [])
    for index, cable in enumerate(cables):
        field = f"config.json: linux.veth[{index}]"
        if "network" not in own(config):
            raise ConfigError(f"{field}: needs a new namespace of type network, for the inner end to be in")
        if host.rootless:
            raise ConfigError(f"{field}: takes CAP_NET_ADMIN on the host, which an ordinary user has not")
        if cable["name"] == "lo":
            raise ConfigError(f"{field}.name: lo is the loopback interface, which is there already")
        for key in ("name", "hostName"):
            if cable[key] in [other[key] for other in cables[:index]]:
                raise ConfigError(f"{field}.{key}: {cable[key]} is another cable's, too")
        if "gateway" in cable and len(_address(cable.get("address", ""))) != len(packed_address(cable["gateway"])):
            raise ConfigError(f"{field}.gateway: needs an address of the same kind, IPv4 or IPv6, to be reached from")


def raise_loopback(config: Config) -> list[Step]:
    """Bring up lo; a new network namespace has it, but down. A joined one is its owner's to set up."""
    if "network" not in own(config):
        return []
    request = Packed(struct.pack("16sh22x", b"lo", IFF_UP), 'ifr_name="lo", ifr_flags=IFF_UP')
    calls = (
        Call("socket", (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), saves="socket"),
        Call("ioctl", (Saved("socket"), SIOCSIFFLAGS, request)),
        CLOSE,
    )
    return [
        Step(
            "loopback",
            "a new network namespace has lo, but down: network_namespaces(7), netdevice(7)",
            calls,
        )
    ]


def lay_cables(config: Config) -> list[Step]:
    """Make each pair of interfaces on the host's side, one end of it born into the child's namespace.

    The first step has no undo: if the name is taken, what is there is not ours to remove. The pair goes with the
    child's namespace in any case; the undo of the second only does not wait for that.
    """
    steps = []
    for cable in config.get("linux", {}).get("veth", []):
        name = cable["hostName"]
        pair = (open_socket(), *_request(*_pair(cable)), CLOSE)
        steps.append(Step(f"veth:{name}", "a cable from here into the namespace of the child: veth(4)", pair))
        calls = set_up(name, *filter(None, [cable.get("hostAddress")]))
        undo = (open_socket(), *_request(*_removal(name), allowed=(errno.ENODEV,)), CLOSE)
        steps.append(Step(f"cable:{name}", "the host's end: an interface begins down: rtnetlink(7)", calls, undo))
    return steps


def connect(config: Config) -> list[Step]:
    """Give the inner ends their addresses, bring them up, and lead the default route over them."""
    steps = []
    for cable in config.get("linux", {}).get("veth", []):
        name = cable["name"]
        calls = set_up(name, *filter(None, [cable.get("address")]))
        steps.append(Step(f"cable:{name}", "the inner end, which begins down: rtnetlink(7)", calls))
        if "gateway" in cable:
            route = (open_socket(), _index_of(name), *_request(*_default_route(cable["gateway"])), CLOSE)
            steps.append(Step(f"cable-route:{name}", "over an interface that is up: rtnetlink(7)", route))
    return steps


def set_up(name: str, *addresses: str) -> tuple[Call, ...]:
    """Find the interface's number in the namespace of the caller, give it its addresses and bring it up."""
    calls = [open_socket(), _index_of(name)]
    for address in addresses:
        calls += _request(*_new_address(address))
    up: Members = (("4s", bytes(4)), ("i", Saved("index")), ("I", IFF_UP), ("I", IFF_UP))  # struct ifinfomsg
    return (*calls, *_request(RTM_NEWLINK, 0, up, "IFF_UP"), CLOSE)


def move(name: str, new_name: str, namespace: Saved, attribute: int) -> tuple[Call, ...]:
    """Move an interface to a namespace, under a name that it has from the first moment there."""
    head: Members = (("4s", bytes(4)), ("i", Saved("index")), ("8s", bytes(8)))  # struct ifinfomsg
    beginning = _attribute(IFLA_IFNAME, new_name.encode() + b"\0") + struct.pack("=HH", 8, attribute)
    members: Members = (*head, (f"{len(beginning)}s", beginning), ("I", namespace))
    return (_index_of(name), *_request(RTM_NEWLINK, 0, members, f'RTM_NEWLINK "{new_name}", netns {namespace}'))


def open_socket() -> Call:
    """Return the call that opens a netlink socket, of the network namespace in which the caller is just then."""
    return Call("socket", (AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0), saves="socket")


def _index_of(name: str) -> Call:
    request = Answer(struct.pack("16s24x", name.encode()), 16, f'ifr_name="{name}", ifr_ifindex')
    return Call("ioctl", (Saved("socket"), SIOCGIFINDEX, request), saves="index")


def _request(kind: int, flags: int, members: Members, meaning: str, allowed: tuple[int, ...] = ()) -> tuple[Call, Call]:
    """Send a message to the kernel and read its acknowledgement."""
    length = 16 + Record(members).size
    header = struct.pack("=IHHII", length, kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0)
    message = Record((("16s", header), *members), meaning)
    answer = Answer(bytes(20), NLMSG_ERROR_AT, f"the answer to {meaning}")
    return (
        Call("write", (Saved("socket"), message, length)),
        Call("read", (Saved("socket"), answer, 20), allowed),
    )


def _pair(cable: Config) -> tuple[int, int, Members, str]:
    """RTM_NEWLINK: two interfaces, the peer in the network namespace of the child."""
    peer = NO_INTERFACE + _attribute(IFLA_IFNAME, cable["name"].encode() + b"\0")
    in_child = struct.pack("=HH", 8, IFLA_NET_NS_PID)
    length = len(peer) + 8
    beginning = _attribute(IFLA_IFNAME, cable["hostName"].encode() + b"\0")
    kind = _attribute(IFLA_INFO_KIND, b"veth")
    nested = (
        struct.pack("=HH", 4 + len(kind) + 4 + 4 + length, IFLA_LINKINFO)
        + kind
        + struct.pack("=HH", 4 + 4 + length, IFLA_INFO_DATA)
        + struct.pack("=HH", 4 + length, VETH_INFO_PEER)
        + peer
        + in_child
    )
    body = NO_INTERFACE + beginning + nested
    members: Members = ((f"{len(body)}s", body), ("I", Saved("pid")))
    shown = f'RTM_NEWLINK veth "{cable["hostName"]}", peer "{cable["name"]}", netns of $pid'
    return RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, members, shown


def _removal(name: str) -> tuple[int, int, Members, str]:
    body = NO_INTERFACE + _attribute(IFLA_IFNAME, name.encode() + b"\0")
    return RTM_DELLINK, 0, ((f"{len(body)}s", body),), f'RTM_DELLINK "{name}"'


def _new_address(text: str) -> tuple[int, int, Members, str]:
    """RTM_NEWADDR; nobody else is on the cable, so IPv6 need not look for a duplicate first."""
    address = _address(text)
    head = struct.pack("=BBBB", _family(address), int(text.partition("/")[2]), IFA_F_NODAD, 0)  # struct ifaddrmsg
    tail = _attribute(IFA_LOCAL, address) + _attribute(IFA_ADDRESS, address)
    members: Members = (("4s", head), ("I", Saved("index")), (f"{len(tail)}s", tail))
    return RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, members, f"RTM_NEWADDR {text}"


def _default_route(text: str) -> tuple[int, int, Members, str]:
    gateway = packed_address(text)
    head = struct.pack("=8BI", _family(gateway), 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0)  # rtmsg
    body = head + _attribute(RTA_GATEWAY, gateway) + struct.pack("=HH", 8, RTA_OIF)
    members: Members = ((f"{len(body)}s", body), ("I", Saved("index")))
    return RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, members, f"RTM_NEWROUTE default via {text}"


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _address(text: str) -> bytes:
    return packed_address(text.partition("/")[0])


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else AF_INET6
