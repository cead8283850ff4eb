"""Where memory comes from: linux.memoryPolicy, as the kernel itself tells of it in numa_maps(5)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from harness.runtime.config import read
from harness.runtime.errors import StartError
from tests.kernel.bundles import bundle, output_of

pytestmark = pytest.mark.usefixtures("needs_namespaces")


@pytest.fixture(autouse=True)
def needs_numa(missing: Callable[[str], NoReturn]) -> None:
    if not Path("/proc/self/numa_maps").exists():
        missing("this kernel was built without NUMA")


def policies(text: str) -> set[str]:
    return {line.split()[1] for line in text.splitlines()}


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_DEFAULT", "nodes": "", "flags": []}, "default"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0", "flags": ["MPOL_F_STATIC_NODES"]}, "interleave=static:0"),
    ],
)
@pytest.mark.parametrize("init", ["true", "false"])
def test_the_program_has_the_policy_of_the_config(
    tmp_path: Path, policy: dict[str, Any], shown: str, init: str
) -> None:
    own = Path("/proc/self/numa_maps").read_text()
    directory, config = bundle(tmp_path, "cat", "/proc/self/numa_maps")
    config["linux"]["memoryPolicy"] = policy
    config["annotations"] = {"isoproof.init": init}
    status, text = output_of(directory, read(config))
    assert (status, policies(text)) == (0, {shown}), text
    assert policies(Path("/proc/self/numa_maps").read_text()) == policies(own)


@pytest.mark.parametrize(
    "policy",
    [
        {"mode": "MPOL_BIND"},
        {"mode": "MPOL_BIND", "nodes": str(max(64, os.sysconf("SC_PAGESIZE") // 64))},
        {"mode": "MPOL_DEFAULT", "nodes": "0"},
        {"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]},
    ],
)
def test_what_the_kernel_cannot_do_is_an_error(tmp_path: Path, policy: dict[str, Any]) -> None:
    directory, config = bundle(tmp_path, "cat", "/proc/self/numa_maps")
    config["linux"]["memoryPolicy"] = policy
    with pytest.raises(StartError, match=r"memory-policy: set_mempolicy\(.*: EINVAL .*; a node is not there"):
        output_of(directory, read(config))
