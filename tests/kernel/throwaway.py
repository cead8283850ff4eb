"""A function run as process 1 of new namespaces, for tests that place bait, mount, signal or rename."""

import contextlib
import fcntl
import os
import pickle
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from harness.runtime.syscalls import CLONE, IFF_UP, MS, PR, SIOCSIFFLAGS, invoke

Value = TypeVar("Value")
EVERYTHING = CLONE.NEWPID | CLONE.NEWNS | CLONE.NEWNET | CLONE.NEWUTS | CLONE.NEWIPC


def in_throwaway(function: Callable[[], Value], namespaces: CLONE = EVERYTHING) -> Value:
    """Calls `function` in new namespaces, with a /proc of its own and lo up, and returns what it returned.

    Whatever it leaves behind ends with its namespaces, except for files and cgroups. Where it raises, the
    test fails with its traceback. Calls can be nested: the outer one plays the host.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        _live(function, namespaces, sender)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        report = pipe.read()
    os.waitpid(child, 0)
    if not report:
        pytest.fail("the throwaway process ended without a word", pytrace=False)
    value, failure = pickle.loads(report)
    if failure:
        pytest.fail(failure, pytrace=False)
    return value  # type: ignore[no-any-return]


def without_capabilities(function: Callable[[], Value]) -> Value:
    """Runs it as a user without rights, in the present namespaces."""

    def drop_and_run() -> Value:
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)
        return function()

    return in_throwaway(drop_and_run, CLONE(0))


def _live(function: Callable[[], Value], namespaces: CLONE, report: int) -> None:
    """Makes the namespaces; the second child is the first process in them. Never returns."""
    try:
        invoke("prctl", PR.SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        uid, gid = os.geteuid(), os.getegid()
        if uid != 0:
            namespaces |= CLONE.NEWUSER
        invoke("unshare", namespaces)
        if uid != 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        first = os.fork()
        if first:
            os.close(report)
            os.waitpid(first, 0)
            os._exit(0)
        invoke("prctl", PR.SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _settle(namespaces)
        answer = pickle.dumps((function(), None))
    except BaseException:
        answer = pickle.dumps((None, traceback.format_exc()))
    with contextlib.suppress(OSError), os.fdopen(report, "wb") as pipe:
        pipe.write(answer)
    os._exit(0)


def _settle(namespaces: CLONE) -> None:
    """Gives new namespaces what belongs in them."""
    if namespaces & CLONE.NEWNS:
        invoke("mount", b"none", b"/", 0, MS.REC | MS.PRIVATE, 0)
        if namespaces & CLONE.NEWPID:
            invoke("mount", b"proc", b"/proc", b"proc", MS.NOSUID | MS.NODEV | MS.NOEXEC, 0)
    if namespaces & CLONE.NEWNET:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            fcntl.ioctl(channel.fileno(), SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
