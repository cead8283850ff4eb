"""An attempt at sethostname(2), with a new name or with the present one (which changes nothing)."""

from __future__ import annotations

import os

import _kernel


def observe(name: str = "") -> dict[str, object]:
    new = name or os.uname().nodename
    return _kernel.attempt_syscall("sethostname", new, len(os.fsencode(new)))
