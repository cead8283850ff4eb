"""The values of kernel parameters by name: {"kernel.pid_max": "4194304"} (proc_sys(5))."""

from __future__ import annotations

import _kernel


def observe(names: list[str], proc: str = "/proc") -> dict[str, object]:
    return {name: _value(f"{proc}/sys/{name.replace('.', '/')}") for name in names}


def _value(path: str) -> object:
    text = _kernel.read(path)
    return text.strip() if isinstance(text, str) else text
