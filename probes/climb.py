"""Waits in its working directory while the host moves that away, and then goes up from it."""

from __future__ import annotations

import os

import _kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

HIGH = 16


def observe(file: str) -> Generator[dict[str, object], object, dict[str, object]]:
    """Report the working directory `before`, and the errno of opening `file` in each directory `above` it."""
    before = os.getcwd()
    yield {}
    return {
        "before": before,
        "above": [_kernel.attempt_open(f"{'../' * steps}{file}")["errno"] for steps in range(1, HIGH)],
    }
