"""Reads what tells one machine from all others."""

from __future__ import annotations

import os

import _kernel

FIRMWARE = "/sys/class/dmi/id"  # SMBIOS: serial numbers of machine, board and chassis
LONGEST = 4096


def observe() -> dict[str, object]:
    """Report `values` by their paths: the machine's id, the kernel's command line, the names that the firmware has.

    The machine's id is looked for in every mount, as the file of its name or in an `etc`. What is empty, or cannot be
    read, is left out.
    """
    points = sorted({str(mount["point"]).rstrip("/") for mount in _kernel.mountinfo()})
    paths = [f"{point}/{name}" for point in points for name in ("etc/machine-id", "machine-id")]
    values = {path: _text(path) for path in [*paths, "/proc/cmdline", *_firmware()]}
    return {"values": {path: text for path, text in values.items() if text}}


def _firmware() -> list[str]:
    try:
        return [f"{FIRMWARE}/{name}" for name in sorted(os.listdir(FIRMWARE))]
    except OSError:
        return []


def _text(path: str) -> str:
    text = _kernel.read(path, LONGEST)
    return text.strip() if isinstance(text, str) else ""
