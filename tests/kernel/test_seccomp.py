"""The filter in force: what the profile denies fails with its errno, in every process of the container."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from harness.runtime.config import read
from harness.runtime.errors import StartError
from tests.kernel.bundles import bundle, output_of

pytestmark = pytest.mark.usefixtures("needs_namespaces")

# busybox makes a directory with one of these and a link with one of those, on each architecture.
DENIED = [
    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV},
    {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO"},
    {"names": ["chroot"], "action": "SCMP_ACT_KILL_PROCESS"},
    {"names": ["nonsense"], "action": "SCMP_ACT_KILL_PROCESS"},
    {
        "names": ["kill"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno.EDOM,
        "args": [{"index": 1, "value": 12, "op": "SCMP_CMP_EQ"}],
    },
]
COMMAND = (
    "busybox mkdir /dev/x; busybox ln -s a /dev/y; busybox chroot / true; echo $?; busybox kill -12 $$; kill -0 $$;"
    "grep Seccomp /proc/self/status /proc/1/status"
)


@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize("shim", ["true", "false"])
def test_what_the_profile_denies_fails_with_its_errno(tmp_path: Path, locked: bool, shim: str) -> None:
    script = COMMAND.replace("grep", "busybox grep").replace("busybox", "/bin/busybox")
    directory, config = bundle(tmp_path, "sh", "-c", script, annotations={"isoproof.init": shim})
    config["process"]["noNewPrivileges"] = locked
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": DENIED}
    status, text = output_of(directory, read(config))
    assert status == 0, text
    assert f"mkdir: can't create directory '/dev/x': {os.strerror(errno.EXDEV)}" in text
    assert f"ln: /dev/y: {os.strerror(errno.EPERM)}" in text
    assert "159\n" in text  # 128 and SIGSYS
    assert os.strerror(errno.EDOM) in text
    for process in ("self", "1"):
        assert f"/proc/{process}/status:Seccomp:\t2\n" in text


def test_without_a_profile_nothing_is_filtered(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path, "/bin/busybox", "mkdir", "/dev/x")
    assert output_of(directory, read(config)) == (0, "")


def test_a_profile_that_denies_execve_fails_the_start(tmp_path: Path) -> None:
    directory, config = bundle(tmp_path)
    denied: dict[str, Any] = {"names": ["execve"], "action": "SCMP_ACT_ERRNO"}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}
    with pytest.raises(StartError, match=r"execute: .*EPERM .*linux\.seccomp"):
        output_of(directory, read(config))
