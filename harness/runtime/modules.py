"""Which security modules this kernel has, and which version of Landlock; asked before anything is done."""

import ctypes
from pathlib import Path

from harness.runtime.landlock_numbers import LANDLOCK_CREATE_RULESET_VERSION
from harness.runtime.syscalls import invoke, libc, number

LISTED = Path("/sys/kernel/security/lsm")
MOST = 32  # modules; no kernel is built with as many
FIRST = 100  # LSM_ID_CAPABILITY

# By their number, from FIRST: include/uapi/linux/lsm.h
NAMES = (
    *("capability", "selinux", "smack", "tomoyo", "apparmor", "yama", "loadpin"),
    *("safesetid", "lockdown", "bpf", "landlock", "ima", "evm", "ipe"),
)

TRACES = {"apparmor": Path("/sys/module/apparmor/parameters/enabled"), "selinux": Path("/sys/fs/selinux")}


def security_modules() -> list[str]:
    """Return the active security modules; where securityfs is not mounted, lsm_list_modules(2) tells.

    Before Linux 6.8 it does not; then at least those that have labels are known by what they leave in sysfs.
    """
    try:
        return LISTED.read_text().strip().split(",")
    except OSError:
        identifiers = (ctypes.c_uint64 * MOST)()
        size = ctypes.c_uint32(ctypes.sizeof(identifiers))
        count = libc.syscall(ctypes.c_long(number("lsm_list_modules")), identifiers, ctypes.byref(size), 0)
        names = dict(enumerate(NAMES, FIRST))
        listed = [names.get(each, f"lsm-{each}") for each in identifiers[: max(count, 0)]]
        return listed or [name for name, trace in TRACES.items() if trace.is_dir() or _is_yes(trace)]


def _is_yes(parameter: Path) -> bool:
    """Return whether a parameter of a kernel module is there and set."""
    try:
        return parameter.read_text().strip() == "Y"
    except OSError:
        return False


def landlock_version() -> int:
    """Return the version of the kernel's Landlock ABI, 0 where it was built or booted without."""
    try:
        return invoke("landlock_create_ruleset", 0, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0
