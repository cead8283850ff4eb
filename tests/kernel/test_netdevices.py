"""Interfaces of the host's that are lent to a container, and come home with their addresses."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import Config, read
from harness.runtime.errors import ConfigError, IsoproofError, StartError
from harness.runtime.netdevices import check
from harness.runtime.step import Host
from harness.runtime.syscalls import CLONE, invoke
from tests.kernel.bundles import bundle, output_of
from tests.kernel.test_namespaces import mapped

pytestmark = pytest.mark.usefixtures("needs_namespaces")
ADDRESSES = ["10.7.7.1/24", "10.7.8.1/32", "fd07::1/64"]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def interface(needs_root: None) -> Iterator[str]:
    """Run the test in a network namespace of its own, in which there is an interface to lend."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    invoke("unshare", CLONE.NEWNET)
    try:
        ip("link", "add", "lent0", "type", "veth", "peer", "name", "far0")
        for address in ADDRESSES:
            ip("address", "add", address, "dev", "lent0")
        ip("link", "set", "lent0", "up")
        yield "lent0"
    finally:
        invoke("setns", before, CLONE.NEWNET)
        os.close(before)


def lasting() -> dict[str, Any]:
    (found,) = json.loads(ip("-json", "address", "show", "dev", "lent0"))
    addresses = {f"{one['local']}/{one['prefixlen']}" for one in found["addr_info"] if one["scope"] == "global"}
    return {"addresses": addresses, "up": "UP" in found["flags"], "address": found["address"]}


def lending(directory: Path, *command: str, **devices: Any) -> tuple[Path, Config]:
    directory, config = bundle(directory, *command)
    (directory / "rootfs/bin/ip").symlink_to("busybox")
    config["linux"]["netDevices"] = devices or {"lent0": {"name": "inner0"}}
    return directory, config


@pytest.mark.parametrize("user_namespace", [False, True])
def test_it_is_inside_under_its_new_name_with_its_addresses_and_comes_home(
    tmp_path: Path, interface: str, user_namespace: bool
) -> None:
    before = lasting()
    assert before["addresses"] == set(ADDRESSES)
    directory, config = lending(tmp_path, "sh", "-c", "ip address show dev inner0; ip -o link")
    if user_namespace:
        mapped(config, (0, 0, 1000))
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert set(re.findall(r"inet6? (\S+)(?: brd \S+)? scope global", text)) == set(ADDRESSES)
    assert before["address"] in text
    assert re.search(r"inner0\S*: <[^>]*\bUP\b", text)
    assert interface not in text
    after = lasting()
    assert after == before


def test_without_a_name_it_keeps_its_own(tmp_path: Path, interface: str) -> None:
    directory, config = lending(tmp_path, "ip", "-o", "link", lent0={})
    status, text = output_of(directory, read(config))
    assert (status, "lent0" in text) == (0, True), text
    assert lasting()["addresses"] == set(ADDRESSES)


@pytest.mark.parametrize("point", ["createRuntime", "startContainer", "poststart"])
def test_it_comes_home_from_a_start_that_fails(tmp_path: Path, interface: str, point: str) -> None:
    directory, config = lending(tmp_path, "sleep", "600")
    config["hooks"] = {point: [{"path": "/bin/cat", "args": ["cat", "/not/there"]}]}
    before, descriptors = lasting(), os.listdir("/proc/self/fd")
    with pytest.raises(StartError, match=rf"hooks\.{point}"):
        output_of(directory, read(config))
    assert lasting() == before
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_name_that_is_taken_is_an_error_and_it_stays(tmp_path: Path, interface: str) -> None:
    ip("link", "add", "other0", "type", "veth", "peer", "name", "far1")
    directory, config = lending(tmp_path, lent0={"name": "same0"}, other0={"name": "same0"})
    before = lasting()
    with pytest.raises(ConfigError, match=r"linux\.netDevices\.other0: there is another same0 inside"):
        output_of(directory, read(config))
    assert lasting() == before


def test_an_interface_that_is_not_there_is_named(tmp_path: Path, interface: str) -> None:
    directory, config = lending(tmp_path, nowhere0={})
    with pytest.raises(IsoproofError, match=r"linux\.netDevices\.nowhere0: the host has no such interface"):
        output_of(directory, read(config))


@pytest.mark.parametrize(
    ("devices", "uid", "sentence"),
    [
        ({"lo": {}}, 0, r"netDevices\.lo: every network namespace has a loopback interface"),
        ({"a0": {"name": "lo"}}, 0, r"netDevices\.a0: there is another lo inside"),
        ({"a0": {}}, 1000, r"netDevices\.a0: takes CAP_NET_ADMIN on the host"),
    ],
)
def test_what_cannot_be_lent_is_one_line(devices: dict[str, Any], uid: int, sentence: str, tmp_path: Path) -> None:
    _, config = lending(tmp_path, **devices)
    with pytest.raises(ConfigError, match=sentence):
        check(read(config), Host("isoproof-1", "/r", uid=uid))


def test_it_is_not_lent_to_the_launchers_own_namespace(tmp_path: Path) -> None:
    _, config = lending(tmp_path)
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
    with pytest.raises(ConfigError, match="needs a namespace of type network other than the launcher's"):
        check(read(config), Host("isoproof-1", "/r"))
