"""Reads its own preference for the OOM killer, and tries to become one that is never killed."""

from __future__ import annotations

import _kernel

NEVER = "-1000"


def observe() -> dict[str, object]:
    """Report `value` of this process, `init_value` of pid 1, and `never`, the errno of writing -1000.

    Only a child of this probe is changed where the kernel allows it: proc_pid_oom_score_adj(5).
    """
    return {
        "value": _value("/proc/self/oom_score_adj"),
        "init_value": _value("/proc/1/oom_score_adj"),
        "never": _kernel.in_child(lambda: _kernel.attempt(lambda: _kernel.write("/proc/self/oom_score_adj", NEVER))),
    }


def _value(path: str) -> int | None:
    text = _kernel.read_text(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else None
