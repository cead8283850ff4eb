"""Bait that is keys, which the kernel keeps for whoever possesses them: keyrings(7).

No sandbox has keyrings of its own. So the keys are the machine's, and expire even if nobody takes them away.
"""

import contextlib

from harness.canaries.base import Canary, Facts
from harness.errors import HarnessError
from harness.runtime.syscalls import invoke

JOIN_SESSION_KEYRING, SETPERM, LINK, SET_TIMEOUT, INVALIDATE = 1, 5, 8, 15, 21  # of keyctl(2)
PROCESS_KEYRING, USER_KEYRING = -2, -4
POSSESSOR_ALL, USER_VIEW, USER_SEARCH = 0x3F << 24, 0x01 << 16, 0x08 << 16
LIFETIME = 60  # seconds


class UserKey(Canary):
    """A key in the user keyring of whoever runs the harness: user-keyring(7)."""

    def place(self) -> None:
        self.name = f"isoproof-canary-{self.token}"
        # Not there from the beginning, for only who possesses a key may set when it expires.
        self.serial = _add(self, b"user", self.name, self.token.encode(), PROCESS_KEYRING)
        invoke("keyctl", LINK, self.serial, USER_KEYRING)

    def facts(self) -> Facts:
        return {"name": self.name, "token": self.token, "serial": self.serial}


class SessionKey(Canary):
    """A key in a session keyring that the launcher joins, which all that it starts inherits: session-keyring(7).

    Keyring and key have one name, by which the keyring is joined. Who possesses neither may see that they are there.
    """

    def place(self) -> None:
        self.name = f"isoproof-canary-{self.token}"
        self.keyring = _add(self, b"keyring", self.name, b"", PROCESS_KEYRING)
        invoke("keyctl", SETPERM, self.keyring, POSSESSOR_ALL | USER_VIEW | USER_SEARCH)
        self.serial = _add(self, b"user", self.name, self.token.encode(), self.keyring)

    def facts(self) -> Facts:
        return {"name": self.name, "token": self.token, "serial": self.serial, "keyring": self.keyring}

    def change_launcher(self, streams: tuple[int, int, int]) -> None:
        joined = invoke("keyctl", JOIN_SESSION_KEYRING, self.name.encode())
        if joined != self.keyring:
            raise HarnessError(f"join session keyring {self.name}: got the new keyring {joined}, not {self.keyring}")


def _add(canary: Canary, kind: bytes, name: str, content: bytes, keyring: int) -> int:
    """Add a key to a keyring, until the canary is taken away, and return its serial number."""
    serial = invoke("add_key", kind, name.encode(), content or 0, len(content), keyring)
    canary.undo.callback(_invalidate, serial)
    invoke("keyctl", SET_TIMEOUT, serial, LIFETIME)
    return serial


def _invalidate(serial: int) -> None:
    with contextlib.suppress(OSError):  # it has expired
        invoke("keyctl", INVALIDATE, serial)
