"""Which session keyring a process has, and whether a key is found in it: session-keyring(7)."""

from __future__ import annotations

from _kernel import attempt_syscall

KEYCTL_GET_KEYRING_ID, KEYCTL_DESCRIBE, KEYCTL_SEARCH = 0, 6, 10
SESSION_KEYRING = -3


def observe(name: str) -> dict[str, object]:
    """Report `serial` and `name` of the keyring, and `search`, the attempt to find a key by its name."""
    found = attempt_syscall("keyctl", KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0)
    description = bytearray(256)
    attempt_syscall("keyctl", KEYCTL_DESCRIBE, SESSION_KEYRING, description, len(description))
    return {
        "errno": found["errno"],
        "serial": found.get("result"),
        "name": description.split(b"\0")[0].decode(errors="replace").split(";")[-1],
        "search": {"errno": attempt_syscall("keyctl", KEYCTL_SEARCH, SESSION_KEYRING, "user", name, 0)["errno"]},
    }
