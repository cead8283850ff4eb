"""Opens paths, mostly of devices, as any program would, links followed; neither reads nor writes."""

from __future__ import annotations

import os

import _kernel


def observe(paths: list[str]) -> dict[str, object]:
    """Report by path the `errno` of opening it, and `number` ("1:3") where it is a device.

    /dev/watchdog must not be among the paths: to open it is to have the machine rebooted.
    """
    return {"paths": {path: _opened(path) for path in paths}}


def _opened(path: str) -> dict[str, object]:
    try:
        status = os.stat(path)
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "number": None}
    return _kernel.attempt_open(path, os.O_RDONLY | os.O_NONBLOCK) | {"number": _kernel.device_number(status)}
