"""The probes of the area kernel-interfaces, where no knob can show that they would notice."""

import os
from collections.abc import Callable
from typing import NoReturn

import pytest

from harness import environment
from harness.runtime.syscalls import CLONE
from tests.kernel.probing import observe
from tests.kernel.throwaway import in_throwaway

FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of the kernel


@pytest.mark.usefixtures("needs_namespaces", "needs_root")
def test_who_may_walk_through_mount_namespaces_reaches_ours(missing: Callable[[str], NoReturn]) -> None:
    """kif-mntns-iteration: outside of every sandbox, with all rights, the probe sees what must not be seen."""
    if environment.facts()["kernel"] < [6, 12]:
        missing("namespaces have no next and no previous one before Linux 6.12")
    if os.stat("/proc/self/ns/pid").st_ino != FIRST_PID_NAMESPACE:
        pytest.skip("not in the machine's first PID namespace")
    ours = os.stat("/proc/self/ns/mnt").st_ino
    seen = in_throwaway(lambda: observe("walk_namespaces"), CLONE.NEWNS)
    assert ours in seen["previous"]["reached"]
    assert seen["previous"]["errno"] == "ENOENT"
