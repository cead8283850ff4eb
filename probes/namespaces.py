"""The namespaces of a process that the container's first process has forked."""

from __future__ import annotations

import _kernel


def observe() -> dict[str, object]:
    return _kernel.namespaces()
