"""Keys as bait: who possesses them, and that they go by themselves."""

import contextlib
import ctypes
from pathlib import Path

import pytest

from harness import canaries
from harness.runtime.syscalls import CLONE, invoke
from tests.kernel.test_canaries import NONCE, facts_of
from tests.kernel.throwaway import in_throwaway

pytestmark = pytest.mark.usefixtures("needs_namespaces")


def test_keys_expire_even_if_nobody_takes_them_away(tmp_path: Path) -> None:
    for kind in ("user-key", "session-key"):
        canary = canaries.place(kind, {}, tmp_path, NONCE)
        expiry = [line.split()[3] for line in Path("/proc/keys").read_text().splitlines() if canary.token in line]
        assert expiry
        assert set(expiry) <= {"1m", "59s"}
        canary.close()


def test_session_key_is_possessed_by_whoever_the_launcher_starts(tmp_path: Path) -> None:
    read, buffer = 11, ctypes.create_string_buffer(64)  # KEYCTL_READ

    def try_to_read(serial: int) -> bytes:
        with contextlib.suppress(PermissionError):
            length = invoke("keyctl", read, serial, buffer, len(buffer))
            return buffer.raw[:length]
        return b""

    def story() -> None:
        canary = canaries.place("session-key", {}, tmp_path, NONCE)
        serial = facts_of(canary)["serial"]
        assert in_throwaway(lambda: try_to_read(serial), CLONE(0)) == b""  # a child's process keyring is its own
        canary.change_launcher((0, 1, 2))
        assert in_throwaway(lambda: try_to_read(serial), CLONE(0)) == canary.token.encode()
        canary.close()

    in_throwaway(story)
