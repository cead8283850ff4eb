"""What of a plan hangs on single settings: kernel parameters, paths that are read-only."""

from typing import Any

import pytest

from harness.runtime.errors import ConfigError
from harness.runtime.plan import plan
from harness.runtime.spec import example
from harness.runtime.step import Host, Plan


def made(**linux: Any) -> Plan:
    config = example(0, 0)
    config["linux"] |= linux
    return plan(config, Host("isoproof-1", "/bundle/rootfs"))


def calls(wanted: Plan, name: str) -> list[str]:
    return [str(call) for step in wanted.steps if step.name == name for call in step.calls]


def test_a_sysctl_of_the_whole_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vm\.swappiness: belongs to no namespace"):
        made(sysctl={"vm.swappiness": "1"})
    with pytest.raises(ConfigError, match="needs a namespace of type ipc"):
        made(sysctl={"kernel.sem": "1"}, namespaces=[{"type": "mount"}, {"type": "uts"}])
    with pytest.raises(ConfigError, match="not the name and value of one kernel parameter"):
        made(sysctl={"net.ipv4/../../../kernel/core_pattern": "|/bin/x"})
    with pytest.raises(ConfigError, match="vm/swappiness: belongs to no namespace"):
        made(sysctl={"vm/swappiness": "1"})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("kernel/sem", "kernel/sem"),
    ],
)
def test_a_sysctl_is_where_sysctl_has_it(name: str, path: str) -> None:
    assert calls(made(sysctl={name: "1"}), "sysctl")[0].startswith(f'openat(AT_FDCWD, "/proc/sys/{path}", ')


@pytest.mark.parametrize("path", ["/x", "/x/", "/", "/x/y"])
def test_a_read_only_path_has_no_unbindable_mount_in_it(path: str) -> None:
    mounts = [{"destination": "/x/y", "type": "tmpfs", "options": ["unbindable"]}]
    with pytest.raises(ConfigError, match=f"linux.readonlyPaths: {path}: /x/y is an unbindable mount, which cannot"):
        plan(example(0, 0) | {"mounts": mounts, "linux": {"readonlyPaths": [path]}}, Host("isoproof-1", "/r"))
    for other in ("/x/yz", "/z", "/x/y/z"):
        plan(example(0, 0) | {"mounts": mounts, "linux": {"readonlyPaths": [other]}}, Host("isoproof-1", "/r"))
