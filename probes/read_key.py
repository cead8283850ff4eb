"""Reads a key of the kernel's by its serial number, or by its name in the user keyring: keyctl(2), KEYCTL_READ."""

from __future__ import annotations

import _kernel

KEYCTL_LINK, KEYCTL_SEARCH, KEYCTL_READ = 8, 10, 11
PROCESS_KEYRING, USER_KEYRING = -2, -4


def observe(serial: int = 0, name: str = "") -> dict[str, object]:
    """Report the errno, and the `text` of the key."""
    try:
        return {"errno": None, "text": _read(serial or _find(name))}
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno), "text": None}


def _find(name: str) -> int:
    """The serial number of a key in the user keyring, which all processes of a user possess: user-keyring(7).

    Only who possesses a key may read it, so the keyring is linked to that of this process, which goes with it.
    """
    _kernel.syscall("keyctl", KEYCTL_LINK, USER_KEYRING, PROCESS_KEYRING)
    return _kernel.syscall("keyctl", KEYCTL_SEARCH, USER_KEYRING, "user", name, 0)


def _read(serial: int) -> str:
    content = bytearray(4096)
    length = _kernel.syscall("keyctl", KEYCTL_READ, serial, content, len(content))
    return content[:length].decode(errors="backslashreplace")
