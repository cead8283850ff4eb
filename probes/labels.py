"""The labels that security modules have put on this process: proc_pid_attr(5)."""

from __future__ import annotations

import _kernel


def observe() -> dict[str, object]:
    """Report `current`, of the module that owns /proc/PID/attr, and `apparmor`; {"errno"} where there is none."""
    return {
        "current": _label("/proc/self/attr/current"),
        "apparmor": _label("/proc/self/attr/apparmor/current"),
    }


def _label(path: str) -> str | dict[str, object]:
    text = _kernel.read(path)
    return text.rstrip("\0\n") if isinstance(text, str) else text
