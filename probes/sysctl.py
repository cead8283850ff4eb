"""The values of kernel parameters by name: {"kernel.pid_max": "4194304"} (proc_sys(5))."""

from __future__ import annotations

import _kernel


def observe(names: list[str]) -> dict[str, object]:
    return {name: _value(name) for name in names}


def _value(name: str) -> object:
    text = _kernel.read("/proc/sys/" + name.replace(".", "/"))
    return text.strip() if isinstance(text, str) else text
