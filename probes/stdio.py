"""Looks at the standard streams of the first process: what they are, and whether more can be made of them."""

from __future__ import annotations

import os

import _kernel


def observe() -> dict[str, object]:
    """Report `kinds` of the descriptors 0 to 2, the `numbers` of those that are devices ("1:3"), and `reopened`: the
    attempts to open each once more, to read and write.

    The first process is the runner, whose streams are not the probe's.
    """
    kinds: dict[str, object] = {}
    numbers: dict[str, object] = {}
    reopened: dict[str, object] = {}
    for number in "012":
        path = f"/proc/{os.getppid()}/fd/{number}"
        status = os.stat(path)
        kinds[number] = _kernel.kind(status.st_mode)
        numbers[number] = _kernel.device_number(status)
        reopened[number] = _kernel.attempt_open(path, os.O_RDWR)
    return {"kinds": kinds, "numbers": numbers, "reopened": reopened}
