"""Reads what tells one machine from all others."""

from __future__ import annotations

import _kernel

FIRMWARE = "/sys/class/dmi/id"  # SMBIOS: serial numbers of machine, board and chassis
LONGEST = 4096


def observe() -> dict[str, object]:
    """Report `values` by their paths: the machine's id, the kernel's command line, the names that the firmware has.

    The machine's id is looked for in every mount, as the file of its name or in an `etc`. What is empty, or cannot be
    read, is left out.
    """
    points = _kernel.mount_points()
    paths = [f"{point.rstrip('/')}/{name}" for point in points for name in ("etc/machine-id", "machine-id")]
    paths += ["/proc/cmdline", *(f"{FIRMWARE}/{name}" for name in _kernel.entries(FIRMWARE))]
    values = {path: _text(path) for path in paths}
    return {"values": {path: text for path, text in values.items() if text}}


def _text(path: str) -> str:
    text = _kernel.read(path, LONGEST)
    return text.strip() if isinstance(text, str) else ""
