"""A declared cable to the host, laid between the namespaces of this machine's throwaway host and the container."""

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import Config, read
from harness.runtime.errors import ConfigError, StartError
from harness.runtime.inspect import host
from harness.runtime.launch import start
from harness.runtime.network import check
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Host
from harness.runtime.syscalls import CLONE, invoke
from tests.kernel.bundles import bundle, output_of

pytestmark = pytest.mark.usefixtures("needs_namespaces", "needs_root")

CABLE = {"name": "eth0", "address": "10.9.8.2/24", "hostName": "cell0", "hostAddress": "10.9.8.1/24"}
CABLE6 = {
    "name": "eth6",
    "address": "fd09::2/64",
    "gateway": "fd09::1",
    "hostName": "cell6",
    "hostAddress": "fd09::1/64",
}


def with_cables(config: Config, *cables: dict[str, str]) -> Config:
    config["linux"] = config["linux"] | {"veth": list(cables)}
    return read(config)


@pytest.fixture
def own_network() -> Iterator[None]:
    """Run the test in a network namespace of its own, which plays the host's."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    invoke("unshare", CLONE.NEWNET)
    try:
        yield
    finally:
        invoke("setns", before, CLONE.NEWNET)
        os.close(before)


def interfaces() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


@pytest.mark.usefixtures("own_network")
def test_the_interfaces_inside_are_those_that_are_declared(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", "cat /proc/net/dev; cat /proc/net/route; cat /proc/net/if_inet6")
    before = interfaces()
    status, text = output_of(directory, with_cables(config, CABLE | {"gateway": "10.9.8.1"}, CABLE6))
    assert status == 0
    assert sorted(re.findall(r"(?m)^ *(\w+):", text)) == sorted([*before, "eth0", "eth6"])
    assert re.search(r"eth0\t00000000\t0108090A\t0003", text), text  # the default route, up and by a gateway
    assert re.search(r"fd090000000000000000000000000002 \w+ 40 00 .. +eth6", text), text
    assert interfaces() == before


@pytest.mark.usefixtures("own_network")
@pytest.mark.parametrize(("cable", "address"), [(CABLE, "10.9.8.1"), (CABLE6, "fd09::1")])
def test_the_two_ends_talk(tmp_path: Path, cable: dict[str, str], address: str) -> None:
    directory, config = bundle(tmp_path, "sh", "-c", f"echo hello | nc {address} 4711")
    (tmp_path / "rootfs/bin/nc").symlink_to("busybox")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(("", 4711))  # of this network namespace, where the address is still to come
        listener.listen()
        listener.settimeout(20)
        heard: list[bytes] = []

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(100))

        thread = threading.Thread(target=answer)
        thread.start()
        status, text = output_of(directory, with_cables(config, cable))
        thread.join()
    assert (status, heard) == (0, [b"hello\n"]), text


@pytest.mark.usefixtures("own_network")
def test_a_name_that_is_taken_is_one_line_and_what_is_there_stays(tmp_path: Path) -> None:
    before = interfaces()
    directory, config = bundle(tmp_path, "sleep", "20")
    inner, second = bundle(tmp_path / "second")
    outer = with_cables(config, CABLE)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with start(plan(outer, host(outer, directory)), (null, null, null)):
            assert "cell0" in interfaces()
            with pytest.raises(
                StartError, match=r"^veth:cell0: .*: EEXIST .*the host has an interface of this hostN"
            ) as caught:
                output_of(inner, with_cables(second, CABLE))
            assert str(caught.value).isprintable()
            assert "cell0" in interfaces()
            other = CABLE | {"hostName": "cell1", "hostAddress": "10.9.9.1/24"}
            assert output_of(inner, with_cables(second, other))[0] == 0
            assert "cell1" not in interfaces()
    finally:
        os.close(null)
    assert interfaces() == before


@pytest.mark.usefixtures("own_network")
def test_whatever_step_fails_no_interface_stays(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    config = with_cables(config, CABLE | {"gateway": "10.1.1.1"})
    before = interfaces()
    with pytest.raises(StartError, match=r"^cable-route:eth0: .*ENETUNREACH .*the gateway is not in the network of"):
        output_of(directory, config)
    assert interfaces() == before


@pytest.mark.parametrize(
    ("changes", "uid", "sentence"),
    [
        ({}, 1000, r"linux\.veth\[0\]: takes CAP_NET_ADMIN on the host, which an ordinary user has not"),
        ({"name": "lo"}, 0, r"linux\.veth\[0\]\.name: lo is the loopback interface"),
        ({"gateway": "fd00::1"}, 0, r"linux\.veth\[0\]\.gateway: needs an address of the same kind"),
    ],
)
def test_a_cable_that_cannot_be_is_refused(changes: dict[str, Any], uid: int, sentence: str) -> None:
    config = with_cables(example(0, 0), CABLE | changes)
    with pytest.raises(ConfigError, match=sentence):
        check(config, Host("isoproof-1", "/r", uid=uid))
