"""What a process can do to its terminal: push input, paste, change the line discipline; with clear and set high halves.

The terminal is a pty of the probe's own, and the controlling one of a session of its own, so nobody else's is touched.
"""

from __future__ import annotations

import os

import _kernel

TIOCSCTTY = 0x540E
REQUESTS = {"TIOCSTI": 0x5412, "TIOCLINUX": 0x541C, "TIOCSETD": 0x5423}


def observe() -> dict[str, object]:
    """Report `clean` and `wide`, each request's outcome by its name."""
    return {
        "clean": {name: _outcome(request) for name, request in REQUESTS.items()},
        "wide": {name: _outcome(1 << 32 | request) for name, request in REQUESTS.items()},
    }


def _outcome(request: int) -> str:
    return _kernel.outcome(lambda: _attempt(request))


def _attempt(request: int) -> dict[str, object]:
    _master, terminal = os.openpty()  # stays open: without it the session would be hung up on
    os.setsid()
    _kernel.syscall("ioctl", terminal, TIOCSCTTY, 0)
    try:
        _kernel.syscall("ioctl", terminal, request, bytearray(4))  # a null byte, and N_TTY, which it has already
    except OSError as error:
        return {"errno": _kernel.errno_name(error.errno)}
    return {"errno": None}
