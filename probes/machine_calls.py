"""Calls that are for root of the whole machine, with arguments for which even he would get nothing done."""

from __future__ import annotations

import _kernel

NOWHERE = "/nonexistent"
BAD_FLAGS = 0x4000_0000  # which no call here knows
NO_DESCRIPTOR = -1
TOO_MANY = 17  # segments; kexec_load(2) takes 16
O_NONBLOCK = 0o4000
IOPL, IOPERM = "172", "173"  # on x86_64, which alone has them
PORT = 0x80  # where the firmware writes what it is doing


def observe() -> dict[str, object]:
    """Report the errnos in groups: `code` replaces or extends the kernel, `ports` go past it to the hardware.

    The third, `state`, changes what all processes share: swap, the log of processes, whether the machine runs. ENOSYS
    says that the kernel was built without a call. Only `ports` can succeed, for a child that ends at once.
    """
    return {
        "code": {
            "kexec_load": _attempt("kexec_load", 0, TOO_MANY, None, BAD_FLAGS),
            "kexec_file_load": _attempt("kexec_file_load", NO_DESCRIPTOR, NO_DESCRIPTOR, 0, None, BAD_FLAGS),
            "init_module": _attempt("init_module", None, 0, ""),
            "finit_module": _attempt("finit_module", NO_DESCRIPTOR, "", 0),
            "delete_module": _attempt("delete_module", "", O_NONBLOCK),
        },
        "ports": {"iopl": _attempt(IOPL, 3), "ioperm": _attempt(IOPERM, PORT, 1, 1)} if _has_ports() else {},
        "state": {
            "swapon": _attempt("swapon", NOWHERE, 0),
            "acct": _attempt("acct", NOWHERE),
            "reboot": _attempt("reboot", 0, 0, 0, None),  # neither of the magic numbers
        },
    }


def _has_ports() -> bool:
    return _kernel.machine() == "x86_64"


def _attempt(name: str, *arguments: int | str | None) -> dict[str, object]:
    return _kernel.in_child(lambda: _kernel.attempt_syscall(name, *arguments))
